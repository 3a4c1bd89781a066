"""Many damaged files through one reader, in a process of its own under a memory limit: `python -m tests.fuzz.campaign
READERS FIRST COUNT RUN FOLDER [SECONDS]`. Prints a JSON object for each reader: asked, inputs, refused, seconds,
processor (seconds of the inputs), findings, rules. The file in hand (FOLDER/READER) survives a crash.
"""

from __future__ import annotations

import base64
import faulthandler
import gc
import hashlib
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz import corpus
from tests.fuzz.judgement import judge, stop_when_stuck
from tests.fuzz.target import mutant
from tests.fuzz.targets import TARGETS

BEYOND_THE_FILE = 64 << 20  # bytes of address space beyond what the process has after the sound files, and the file's
LARGEST_REPORT = 10
# Keeps that limit for the readers: no further arenas of 64 MiB each, no reading of symbols for a panic in Rust.
ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "RUST_BACKTRACE": "0"}
# A library may be stuck where no signal wakes it: the process ends unless it reads WATCHED files in WATCHDOG_SECONDS.
WATCHED = 1000
WATCHDOG_SECONDS = 300.0
LARGEST_KEPT = 1 << 12  # bytes of an example of a rule


def watch() -> None:
    """End this process, with the place where it stands, unless this is called again in WATCHDOG_SECONDS."""
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True)


def limit_memory(largest: int) -> None:
    """Allow this process BEYOND_THE_FILE and `largest` bytes more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + BEYOND_THE_FILE + largest
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run(name: str, first: int, count: int, run_number: int, folder: Path, limit: float = 0.0) -> dict[str, Any]:
    """Inputs `first` to `first + count` of a reader, with findings kept below `folder/findings`.

    `limit`: seconds after which no more are begun; 0 for none.
    """
    target = TARGETS[name]
    target.prepare(folder)
    path = folder / target.file
    seeds = target.seeds()
    for data, _ in seeds.values():
        path.write_bytes(data)
        for number in (0, 1):
            verdict = judge(name, path, number)
            assert verdict.finding is verdict.rule is None, f"{name}: a sound file is refused: {verdict}"
    stop_when_stuck()
    gc.freeze()  # what is imported stays: looking through it again and again takes time
    watch()  # before the limit: the stack of its thread is no memory of the reader
    limit_memory(max(len(data) for data, _ in seeds.values()))
    known = corpus.kept(name)
    kept = list(known.values())

    def make(number: int) -> bytes:
        return mutant(seeds, number, run_number, kept)

    told = _inputs(name, range(first, first + count), make, path, limit)
    rules = {rule: data for rule, data in told.pop("rules").items() if rule not in known}
    return {"reader": name, "asked": count, **told, "rules": rules}


def _inputs(name: str, numbers: range, make: Callable[[int], bytes], path: Path, limit: float) -> dict[str, Any]:
    findings: list[dict[str, str]] = []
    known: set[str] = set()
    rules: dict[str, str] = {}
    done = refused = 0
    started, used = time.perf_counter(), time.process_time()
    for number in numbers:
        if limit and time.perf_counter() - started > limit:
            break
        if done % WATCHED == 0:
            watch()
        data = make(number)
        _write(path, data)
        verdict = judge(name, path, number)
        done += 1
        if verdict.finding is not None:
            if (place := _place(verdict.finding)) not in known:
                known.add(place)
                file = _keep(name, data, path.parent / "findings")
                findings.append({"file": str(file), "problem": verdict.finding, "number": str(number)})
                if len(findings) >= LARGEST_REPORT:
                    break
        elif verdict.rule is not None:
            refused += 1
            if verdict.rule not in rules and len(data) <= LARGEST_KEPT:
                rules[verdict.rule] = base64.b64encode(data).decode()
    faulthandler.cancel_dump_traceback_later()
    seconds, processor = round(time.perf_counter() - started, 2), round(time.process_time() - used, 3)
    counts = {"inputs": done, "refused": refused, "seconds": seconds, "processor": processor}
    return {**counts, "findings": findings, "rules": rules}


def _write(path: Path, data: bytes) -> None:
    """Replace the content; a third of the time of `Path.write_bytes`, which counts in a hundred thousand files."""
    handle = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(handle, data)
    finally:
        os.close(handle)


def _keep(name: str, data: bytes, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    kept = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    kept.write_bytes(data)
    return kept


def _place(finding: str) -> str:
    return finding.partition(":")[0] + finding.rpartition(" at ")[2]


if __name__ == "__main__":
    warnings.simplefilter("error")  # a warning of numpy is a value that nobody checked
    for reader in sys.argv[1].split(","):
        place = Path(sys.argv[5]) / reader
        place.mkdir(parents=True)
        seconds = float(sys.argv[6]) if len(sys.argv) > 6 else 0.0
        print(json.dumps(run(reader, *map(int, sys.argv[2:5]), place, seconds)), flush=True)
