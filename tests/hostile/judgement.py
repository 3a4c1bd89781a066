"""Reads hostile files in a process of its own (`python -m tests.hostile.judgement`): what was said, when, how large.

Prints one JSON object for each case: name, error (type and line), seconds, peak bytes beyond those before the reading.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.hostile.case import Case

LIMIT_BYTES = 64 << 20  # beyond the size of the file


class Hang(BaseException):
    """The limit of time is over."""


def measured(case: Case, folder: Path) -> dict[str, Any]:
    """Build the case in `folder` (new), read it, and say what came of it."""
    folder.mkdir()
    path = case.build(folder)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    before = _peak_from_now()
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, 10 * case.seconds)
    kind, line = "nothing", ""
    try:
        case.read(path)
    except Hang:
        kind = "hang"
    except Exception as error:
        kind, line = type(error).__name__, str(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    seconds = time.perf_counter() - started
    return {
        "name": case.name,
        "kind": kind,
        "line": line,
        "seconds": seconds,
        "grown": _status("VmHWM") - before,
        "size": size,
        "folder": str(folder),
    }


def _peak_from_now() -> int:
    """Forget the peak so far; resident bytes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{field}:")[2].split()[0]) * 1024


def _hang(number: int, frame: object) -> None:
    raise Hang


def main() -> None:
    from tests.hostile.all_cases import CASES, warm_up

    signal.signal(signal.SIGALRM, _hang)
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        warm_up(Path(name) / "warm-up")
        for number, case in enumerate(CASES):
            print(json.dumps(measured(case, Path(name) / f"case-{number}")), flush=True)


if __name__ == "__main__":
    sys.exit(main())
