"""Judges one reading of one damaged file: accepted, refused as it should be, or a finding."""

from __future__ import annotations

import contextlib
import re
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.fuzz.target import check_line
from tests.fuzz.targets import TARGETS, TYPED

LIMIT_SECONDS = 2.0
STUCK_SECONDS = 10.0  # when the reader is stopped, so that slow and stuck can be told apart
MOST_WORDS = 6  # of a problem in the name of its rule
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"[A-Za-z_]+[.,;]?")


class Hang(BaseException):
    """The limit of time is over; no reader may catch it."""


@dataclass(frozen=True)
class Verdict:
    """`finding`: what went wrong, None where nothing did. `rule`: what refused the file, None where it was read."""

    finding: str | None = None
    rule: str | None = None
    slow: bool = False


def judge(name: str, path: Path, number: int = 0) -> Verdict:
    """Let reader `name` read the file as its input `number`. A stuck reader is stopped where `stop_when_stuck` is.

    What took too long is read once more: it may be the machine that was busy.
    """
    verdict = _judge(name, path, number)
    return _judge(name, path, number) if verdict.slow else verdict


def _judge(name: str, path: Path, number: int) -> Verdict:
    read, rule = TARGETS[name].reader_of(number), None
    started = time.perf_counter()
    try:
        with time_limit():
            read(path)
    except TYPED as error:
        try:
            check_line(error)
        except AssertionError as problem:
            return Verdict(f"bad error line: {problem}")
        rule = _rule(error)
    except Hang:
        return Verdict(f"no answer within {STUCK_SECONDS:g} seconds", slow=True)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict(f"{type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"[:500])
    took = time.perf_counter() - started
    if took > LIMIT_SECONDS:
        return Verdict(f"took {took:.1f} seconds, limit {LIMIT_SECONDS:g}", slow=True)
    return Verdict(rule=rule)


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Send the alarm of `stop_when_stuck` after STUCK_SECONDS."""
    signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def stop_when_stuck() -> None:
    """From now on the alarm raises Hang in this process."""

    def hang(number: int, frame: object) -> None:
        raise Hang

    signal.signal(signal.SIGALRM, hang)


def _rule(error: Exception) -> str:
    """What refused a file, without the values of this one: kind of the error, place in the code, words of the problem.

    >>> _rule(ValueError("x.json: scenario: found 17, limit 'a': not more"))
    'ValueError - scenario found limit'
    """
    problem = getattr(error, "problem", None)
    parts = (problem or str(error).rpartition("/")[2]).split(": ")
    text = parts[0] if problem or len(parts) == 1 else " ".join(parts[1:3])  # after the place; no words of a library
    words = [word.strip(".,;") for word in _VALUES.sub("", text).split() if _WORD.fullmatch(word)]
    return " ".join([type(error).__name__, _function(error.__traceback__), *words[:MOST_WORDS]])


def _function(trace: TracebackType | None) -> str:
    """The last function of the package that the error went through."""
    name = "-"
    while trace is not None:
        code = trace.tb_frame.f_code
        if "pytest_aprqa" in code.co_filename:
            name = f"{Path(code.co_filename).stem}.{code.co_name}"
        trace = trace.tb_next
    return name
