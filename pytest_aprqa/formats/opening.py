"""Open whatever the user named by what its first bytes say, not by its name, and explain what is not a model file."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.safetensors_file import SafeTensorsFile
from pytest_aprqa.formats.tensor_file import MappedFile, TensorFile

_INDEX_SUFFIX = ".safetensors.index.json"
_IMPOSTORS: tuple[tuple[tuple[bytes, ...], str, str], ...] = (
    (
        (b"version https://git-lfs",),
        "is a Git LFS pointer, not the file it points to",
        "run `git lfs pull`, or download the file again with `hf download`",
    ),
    (
        (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "is a pickle or zip archive (PyTorch checkpoint), which can run code when it is loaded",
        "convert it to SafeTensors in a place you trust, then name that file",
    ),
    (
        (b"lmgg", b"fmgg", b"tjgg", b"algg"),
        "is an old GGML file from before GGUF",
        "convert it to GGUF, or download a GGUF file of the model",
    ),
    ((b"FUGG",), "is a byte-swapped (big-endian) GGUF file", "use the little-endian file of the model"),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd"), "is a compressed archive", "unpack it first"),
)


def open_tensor_file(path: str | os.PathLike[str], *, strict: bool = True) -> TensorFile:
    """Open a model file, a folder of SafeTensors, or a SafeTensors index. Use it as a context manager.

    FormatError: unreadable, broken, or not a model file at all (LFS pointer, error page, archive, empty file).
    """
    path = path if isinstance(path, Path) else Path(path)
    if path.is_dir():
        return SafeTensorsFile(path, strict=strict)
    mapped = MappedFile(path)
    head, size = bytes(mapped.data[:512]), mapped.size
    mapped.close()
    if size == 0:
        raise FormatError(path, "file", "is empty", advice="download it again")
    if head[:4] == b"GGUF":
        return GgufFile(path, strict=strict)
    if head[:3] == b"APR":
        return AprFile(path, strict=strict)
    _refuse_impostor(path, head)
    if path.name.endswith(_INDEX_SUFFIX) and head.lstrip()[:1] == b"{":
        return SafeTensorsFile(path, strict=strict)
    if _looks_like_safetensors(path, head):
        return SafeTensorsFile(path, strict=strict)
    _refuse_text(path, head)
    raise FormatError(
        path, "offset 0", "is not a SafeTensors, GGUF or APR file", found=head[:8], advice="check what was downloaded"
    )


def _looks_like_safetensors(path: Path, head: bytes) -> bool:
    if len(head) >= 9 and head[8:9] == b"{":
        return True
    # A damaged header length must still be explained by the reader of the format, not by a shrug.
    return path.suffix == ".safetensors" and _text_start(head) not in (b"<", b"{", b"[")


def _text_start(head: bytes) -> bytes:
    """First byte after a byte order mark and white space."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _refuse_impostor(path: Path, head: bytes) -> None:
    for magics, problem, advice in _IMPOSTORS:
        if head.startswith(magics):
            # A SafeTensors header length may begin with the same bytes as a pickle: 0x80 0x02 is 640.
            if head[8:9] == b"{" and struct.unpack_from("<Q", head)[0] < 2**40:
                continue
            raise FormatError(path, "offset 0", problem, advice=advice)


def _refuse_text(path: Path, head: bytes) -> None:
    start = _text_start(head)
    if start == b"<":
        kind = "is an HTML or XML page"
    elif start in (b"{", b"["):
        kind = "is a JSON text"
    else:
        return
    advice = "probably an error page of the download site, or the wrong file: look at it and download again"
    raise FormatError(path, "offset 0", f"{kind}, not a model", found=head[:40], advice=advice)
