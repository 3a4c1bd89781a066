"""Exit codes of the `apr` program, release 0.72.3, and what each means for the request that met it."""

from __future__ import annotations

from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineUnavailable
from pytest_aprqa.engines.process import Finished

PANIC = 101  # what a Rust program ends with after a panic
MEANINGS: dict[int, str] = {
    1: "failed",
    2: "does not know these arguments",
    3: "finds no model file or tokenizer",
    4: "cannot read the model file",
    5: "says that validation failed",
    6: "cannot load the model",
    7: "met an I/O error",
    8: "failed in inference",
    9: "is built without this feature",
    10: "met a network error",
    11: "got HTTP 404",
    12: "does not implement this",
    13: "found no parity",
    14: "did not use the backend that was forced",
    15: "met a constraint",
}
LOAD = frozenset({3, 4, 5, 6, 7})
ENVIRONMENT = frozenset({10, 11})
ABSENT_FEATURE = frozenset({9, 12, 14})


def problem_of(done: Finished, doing: str, *, backend: str = "cpu") -> EngineError | None:
    """The error that an exit status means, or None for 0 (which proves nothing yet: the output is still judged).

    A signal or a panic is EngineCrashed; on a gpu item a missing feature is EngineUnavailable, on a cpu item an error.
    """
    if done.status == 0:
        return None
    if done.status < 0 or done.status == PANIC or "panicked at" in done.stderr:
        return EngineCrashed(f"{doing} (apr {_command(done)})", exit_code=done.status, stderr_tail=tail(done))
    words = done.last_words.removeprefix("error: ")
    text = f"apr {_command(done)} {MEANINGS.get(done.status, 'failed')} (exit code {done.status}): {words}"
    if done.status == 2:
        return EngineError(f"{text}; the arguments were {' '.join(done.argv[1:])[:300]}")
    if done.status in ENVIRONMENT or (done.status in ABSENT_FEATURE and backend == "gpu"):
        return EngineUnavailable(text)
    return EngineLoadError(text) if done.status in LOAD else EngineError(text)


def tail(done: Finished, lines: int = 40) -> str:
    """The last lines of standard error."""
    return "\n".join(done.stderr.splitlines()[-lines:])


def _command(done: Finished) -> str:
    return " ".join(word for word in done.argv[1:3] if word.isalpha())
