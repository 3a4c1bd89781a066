"""Many damaged files through one reader, in a process of its own under a memory limit: `python -m tests.fuzz.campaign
READERS FIRST COUNT RUN FOLDER [SECONDS]`. Prints a JSON object for each reader: asked, inputs, refused, seconds,
findings. The file in hand (FOLDER/READER) survives a crash.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.targets import TARGETS, TYPED, check_line, mutant

LIMIT_SECONDS = 2.0
LIMIT_BYTES = 192 << 20  # address space beyond what the process has after the sound files
LARGEST_REPORT = 10


class Hang(BaseException):
    """The limit of time is over; no reader may catch it."""


REFUSED = "refused"


def judge(name: str, path: Path) -> str | None:
    """Read the file; None if it was read, REFUSED if it was refused as it should be, else what went wrong."""
    started, refused = time.perf_counter(), None
    try:
        with time_limit():
            TARGETS[name].read(path)
    except TYPED as error:
        try:
            check_line(error)
        except AssertionError as problem:
            return f"bad error line: {problem}"
        refused = REFUSED
    except Hang:
        return f"no answer within {5 * LIMIT_SECONDS:.0f} seconds"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"[:500]
    took = time.perf_counter() - started
    return f"took {took:.1f} seconds, limit {LIMIT_SECONDS}" if took > LIMIT_SECONDS else refused


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise Hang after five times the limit, so that slow and stuck can be told apart."""
    signal.setitimer(signal.ITIMER_REAL, 5 * LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def limit_memory() -> None:
    """Allow this process LIMIT_BYTES more address space than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + LIMIT_BYTES
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
        problem = judge(name, path)
        assert problem is None, f"{name}: a sound file is refused: {problem}"
    signal.signal(signal.SIGALRM, _hang)
    limit_memory()
    findings: list[dict[str, str]] = []
    known: set[str] = set()
    started = time.perf_counter()
    done = refused = 0
    for number in range(first, first + count):
        if limit and time.perf_counter() - started > limit:
            break
        data = mutant(target, number, run_number, seeds)
        with path.open("wb") as stream:
            stream.write(data)
        problem = judge(name, path)
        done += 1
        if problem == REFUSED:
            refused += 1
        elif problem is not None and _place(problem) not in known:
            known.add(_place(problem))
            kept = folder / "findings" / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(data)
            findings.append({"file": str(kept), "problem": problem, "number": str(number)})
            if len(findings) >= LARGEST_REPORT:
                break
    seconds = round(time.perf_counter() - started, 2)
    return {
        "reader": name,
        "asked": count,
        "inputs": done,
        "refused": refused,
        "seconds": seconds,
        "findings": findings,
    }


def _place(problem: str) -> str:
    return problem.partition(":")[0] + problem.rpartition(" at ")[2]


def _hang(number: int, frame: object) -> None:
    raise Hang


if __name__ == "__main__":
    warnings.simplefilter("error")  # a warning of numpy is a value that nobody checked
    for reader in sys.argv[1].split(","):
        place = Path(sys.argv[5]) / reader
        place.mkdir(parents=True)
        seconds = float(sys.argv[6]) if len(sys.argv) > 6 else 0.0
        print(json.dumps(run(reader, *map(int, sys.argv[2:5]), place, seconds)), flush=True)
