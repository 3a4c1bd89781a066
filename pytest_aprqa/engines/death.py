"""What an engine does not survive: a panic of a native library is a crash, not a refusal of one request."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from pytest_aprqa.models.errors import TokenizerPanic

PANIC_EXIT = 101  # what a Rust program ends with after a panic


def is_death(error: BaseException) -> bool:
    """True where the state of the engine can no longer be trusted: panics, exits, whatever is no `Exception`."""
    return isinstance(error, TokenizerPanic) or not isinstance(error, Exception)


def die(error: BaseException) -> NoReturn:
    """End this process at once, from any thread, with the error as its last words on stderr."""
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        traceback.print_exception(error, file=sys.stderr)
        if isinstance(error, TokenizerPanic) or type(error).__name__ == "PanicException":
            code = PANIC_EXIT
    sys.stderr.flush()
    os._exit(code & 0xFF)
