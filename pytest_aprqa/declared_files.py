"""The files beside the weights that decide as the weights do: configuration, tokenizer, chat template; one digest."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

MORE_OF_TOKENIZERS = ("added_tokens.json", "chat_template.json", "merges.txt", "tokenizer.model", "vocab.json")
PIECE = 1 << 20


def declarations_digest(weights: Path) -> str:
    """SHA-256 over name and SHA-256 of each declaration in the folder of WEIGHTS, a file or the folder itself.

    Lower-case hexadecimal. A file that is added or removed changes it as a changed one does. OSError: not readable.
    """
    from pytest_aprqa.lifecycle.source import DECLARATIONS

    folder = weights if weights.is_dir() else weights.parent
    lines = [
        f"{name} {_digest(str(folder / name), _state(folder / name))}\n"
        for name in sorted({*DECLARATIONS, *MORE_OF_TOKENIZERS})
        if (folder / name).is_file()
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@functools.cache
def _digest(path: str, state: tuple[int, ...]) -> str:
    """Of one file; read again when its state is another one."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
