"""What an engine does not survive: a panic of a native library is a crash, not a refusal of one request."""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

from pytest_aprqa.models.errors import TokenizerPanic

PANIC_EXIT = 101  # what a Rust program ends with after a panic
OUT_OF_MEMORY_EXIT = 12  # ENOMEM
OUT_OF_MEMORY = b"MemoryError: the engine ran out of memory\n"
_TORCH_OUT_OF_MEMORY = "can't allocate memory"  # of PyTorch's allocator on the processor, a RuntimeError


def is_death(error: BaseException) -> bool:
    """True where the state of the engine can no longer be trusted: panics, exits, no memory, what is no `Exception`."""
    return isinstance(error, TokenizerPanic) or not isinstance(error, Exception) or is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """The process has no memory left. A full GPU is no such case: the process goes on and says so."""
    return isinstance(error, MemoryError) or _TORCH_OUT_OF_MEMORY in str(error)[:2000]


def die(error: BaseException) -> NoReturn:
    """End this process at once, from any thread, with the error as its last words on stderr."""
    code = 1
    if is_out_of_memory(error):
        os.write(sys.stderr.fileno(), OUT_OF_MEMORY)  # a traceback would need memory
        os._exit(OUT_OF_MEMORY_EXIT)
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        traceback.print_exception(error, file=sys.stderr)
        if isinstance(error, TokenizerPanic) or type(error).__name__ == "PanicException":
            code = PANIC_EXIT
    sys.stderr.flush()
    os._exit(code & 0xFF)
