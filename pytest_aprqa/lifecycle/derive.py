"""Derive a missing format of a model from its SafeTensors source, once per content, into the work cache."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.lifecycle.cache import cached_file, content_key
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.progress import Progress
from pytest_aprqa.lifecycle.source import open_source, source_digests
from pytest_aprqa.lifecycle.tensor_types import DTYPES, check_dtype_option
from pytest_aprqa.lifecycle.to_apr import write_apr_from
from pytest_aprqa.lifecycle.to_gguf import write_gguf_from
from pytest_aprqa.models.artifact import Artifact

# Raise the number whenever a conversion writes other bytes for the same source: old cache entries are then not used.
CONVERTER = "pytest-aprqa/7"

_WRITERS = {"apr": write_apr_from, "gguf": write_gguf_from}


def derive(
    source_folder: Path,
    format: str,  # noqa: A002 - the word of the interface
    *,
    cache: Path,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Artifact of `format` ("apr" or "gguf") made from the SafeTensors model in `source_folder`, origin "derived".

    `dtype`: native (default), f32, f16, bf16; for GGUF also q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k and q6_k,
    for APR q8, q4, q4_k and q6_k. `progress(what, bytes done, bytes in all)`. Safe to call from several processes at
    once: one converts, the others wait and read. Raises LifecycleError, FormatError (weights) or ModelError (config,
    tokenizer).
    """
    if format not in DTYPES:
        raise LifecycleError(source_folder, "format", "cannot be derived", found=format, limit=" | ".join(DTYPES))
    option = dtype or "native"
    check_dtype_option(source_folder, format, option)
    digests = source_digests(source_folder)
    options = {"dtype": option}
    key = content_key(digests.files, format=format, converter=CONVERTER, options=options)

    def build(path: Path) -> None:
        with open_source(source_folder) as source:
            _WRITERS[format](source, path, dtype=option, progress=progress)

    def waiting() -> None:
        if progress is not None:
            progress("waiting for another process that converts this model", 0, 0)

    record = {"converter": CONVERTER, "format": format, "options": options, "source_files": digests.files}
    entry = cached_file(cache, key, f"model.{format}", build, record=record, waiting=waiting)
    return Artifact(
        format=format,
        path=entry.path,
        origin="derived",
        sha256=entry.sha256,
        source_sha256=digests.weights,
        converter=CONVERTER,
    )
