"""An artifact: a file in one format, described by digest and origin, opened by its own declaration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile, sha256_of
from pytest_aprqa.models.config import ModelConfig, config_from_apr, config_from_gguf, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.tokenizer import (
    TokenizerDeclaration,
    tokenizer_from_apr,
    tokenizer_from_gguf,
    tokenizer_from_hf,
)

PUBLISHED, DERIVED = "published", "derived"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file (or sharded set, by its index) in one format. `sha256` covers its weight files."""

    format: str
    path: Path
    origin: str
    sha256: str
    source_sha256: str | None = None
    converter: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self) | {"path": str(self.path)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Artifact:
        """The inverse of `to_json`."""
        return cls(**(fields | {"path": Path(fields["path"])}))


_DIGESTS: dict[tuple[str, int, int], str] = {}


def describe_artifact(path: Path, format_name: str, *, origin: str = PUBLISHED) -> Artifact:
    """Digest a file without judging it; a file that does not open is digested as it lies."""
    try:
        with open_tensor_file(path) as file:
            files = list(file.files)
    except (FormatError, OSError):
        files = [path]
    digests = []
    for one in files:
        status = os.stat(one)
        key = (str(one.resolve()), status.st_size, status.st_mtime_ns)
        if key not in _DIGESTS:
            _DIGESTS[key] = sha256_of([one])
        digests.append(_DIGESTS[key])
    digest = digests[0] if len(digests) == 1 else sha256_of(files)
    return Artifact(format=format_name, path=path, origin=origin, sha256=digest)


class OpenArtifact:
    """An open file. `config`, `tokenizer` and `tensors` are read when first asked for, each from the artifact itself."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file

    @property
    def format(self) -> str:
        """safetensors, apr or gguf, as the bytes say."""
        return self.file.format

    @property
    def folder(self) -> Path:
        """Folder of the companions of a SafeTensors file."""
        path = self.file.path
        return path if path.is_dir() else path.parent

    @cached_property
    def config(self) -> ModelConfig:
        """Declared dimensions. ModelError if they are missing or wrong."""
        if self.format == "safetensors":
            return config_from_hf(self.folder)
        read = config_from_gguf if self.format == "gguf" else config_from_apr
        return read(self.file.path, self.file.metadata, self.file.entries)

    @cached_property
    def tokenizer(self) -> TokenizerDeclaration:
        """Declared tokenizer. ModelError if it is missing or incomplete."""
        if self.format == "safetensors":
            return tokenizer_from_hf(self.folder)
        read = tokenizer_from_gguf if self.format == "gguf" else tokenizer_from_apr
        return read(self.file.path, self.file.metadata)

    @cached_property
    def tensors(self) -> CanonicalTensors:
        """Tensors under Hugging Face names and in Hugging Face row order."""
        config = self.config
        return CanonicalTensors(self.file, config.architecture, config.num_heads, config.num_kv_heads)


@contextmanager
def open_artifact(artifact: Artifact | Path, format_name: str | None = None) -> Iterator[OpenArtifact]:
    """Open by content. ModelError when the bytes are of another format than the artifact is filed under."""
    path = artifact if isinstance(artifact, Path) else artifact.path
    expected = format_name or (None if isinstance(artifact, Path) else artifact.format)
    with open_tensor_file(path) as file:
        if expected is not None and file.format != expected:
            raise ModelError(path, "magic", "is a file of another format", found=file.format, limit=expected)
        yield OpenArtifact(file)
