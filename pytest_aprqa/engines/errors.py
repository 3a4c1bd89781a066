"""What can go wrong with an engine; crash and time-out carry what the child left behind."""

from __future__ import annotations

import signal as signals


class EngineError(RuntimeError):
    """The engine refused or failed one request; it is still alive."""


class EngineLoadError(EngineError):
    """The artifact could not be loaded."""


class EngineUnavailable(EngineError):
    """There is no such engine or backend on this machine; the reason is the message."""


class EngineCrashed(EngineError):
    """The child process died."""

    def __init__(self, doing: str, *, exit_code: int | None, stderr_tail: str = "") -> None:
        self.doing = doing
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        self.signal = -exit_code if exit_code is not None and exit_code < 0 else None
        self.signal_name = _signal_name(self.signal)
        how = f"killed by {self.signal_name}" if self.signal else f"exit code {exit_code}"
        last = _last_words(stderr_tail)
        super().__init__(
            f"the engine died while {doing}: {how}" + (f"; last words: {last.strip()[:200]}" if last else "")
        )


class EngineTimeout(EngineError):
    """The child exceeded its time limit and was killed."""

    def __init__(self, doing: str, *, limit_ms: int, stderr_tail: str = "") -> None:
        self.doing = doing
        self.limit_ms = limit_ms
        self.stderr_tail = stderr_tail
        super().__init__(f"the engine did not finish {doing} within {limit_ms} ms and was killed")


def _last_words(stderr_tail: str) -> str:
    """The line that says why: a panic's message or the fatal error before a stack, else the last line."""
    lines = [line for line in stderr_tail.splitlines() if line.strip()]
    # Rust writes `thread 'main' panicked at FILE:LINE:COLUMN:`, the message on the next line, then the stack.
    panic = next((n for n, line in enumerate(lines) if "panicked at" in line), None)
    if panic is not None:
        return ": ".join(line.strip().rstrip(":") for line in lines[panic : panic + 2])
    fatal = (line for line in reversed(lines) if line.startswith("Fatal Python error:"))
    return next(fatal, lines[-1] if lines else "")


def _signal_name(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
