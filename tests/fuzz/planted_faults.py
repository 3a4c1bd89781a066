"""Readers with a fault that the fuzzer must find: `python -m tests.fuzz.planted_faults FAULT COUNT FOLDER`."""

from __future__ import annotations

import dataclasses
import json
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fuzz import campaign, judgement
from tests.fuzz.model_targets import read_weights
from tests.fuzz.targets import TARGETS

MIB = 1 << 20


def unknown_type(path: Path) -> None:
    """Looks the first tensor's type up without asking whether it is known."""
    data = path.read_bytes()
    try:
        header = json.loads(data[8 : 8 + struct.unpack_from("<Q", data)[0]])
    except (ValueError, RecursionError, struct.error):
        return
    for value in header.values() if isinstance(header, dict) else ():
        if isinstance(value, dict) and isinstance(value.get("dtype"), str):
            _ = {"F32": 4, "F16": 2, "BF16": 2}[value["dtype"]]


def believes_a_count(path: Path) -> None:
    """Makes room for as many bytes as the file says that its header has."""
    data = path.read_bytes()
    if len(data) >= 8:
        bytearray(min(struct.unpack_from("<Q", data)[0], 1 << 36))


def counts_for_ever(path: Path) -> None:
    """Goes through as many items as the file says that there are."""
    data = path.read_bytes()
    left = struct.unpack_from("<Q", data)[0] if len(data) >= 8 else 0
    while left > 0:
        left -= 1


def stuck_in_c(path: Path) -> None:
    """Waits where no signal reaches Python: a deadlock in a library."""
    if len(path.read_bytes()) < 100:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        time.sleep(60)


def wants(size: int) -> Callable[[Path], None]:
    """A reader that takes `size` bytes of memory for every damaged file, and little for a sound one."""
    sound = {data for data, _ in TARGETS["safetensors"].seeds().values()}

    def read(path: Path) -> None:
        if path.read_bytes() not in sound:
            bytearray(size)

    return read


FAULTS: dict[str, Callable[[Path], None]] = {
    "none": read_weights,
    "unknown-type": unknown_type,
    "believes-a-count": believes_a_count,
    "counts-for-ever": counts_for_ever,
    "stuck-in-c": stuck_in_c,
    "48-mib": wants(48 * MIB),
    "70-mib": wants(70 * MIB),
}

if __name__ == "__main__":
    fault, count, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    judgement.STUCK_SECONDS = 0.5
    # Only where no signal wakes the reader: elsewhere the process ends before a busy machine has judged a file.
    campaign.LARGEST_REPORT, campaign.WATCHDOG_SECONDS = 1, 1.5 if fault == "stuck-in-c" else 60.0
    TARGETS["safetensors"] = dataclasses.replace(TARGETS["safetensors"], read=FAULTS[fault])
    folder.mkdir(parents=True, exist_ok=True)
    print(json.dumps(campaign.run("safetensors", 0, count, 1, folder)))
