"""An artifact: a file in one format, described by digest and origin, opened by its own declaration."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile, sha256_of
from pytest_aprqa.models.config import ModelConfig, config_from_apr, config_from_gguf, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.location import EXTENSIONS
from pytest_aprqa.models.rope_scaling import FACTORS, LONG_FACTORS, STORED_FACTORS, llama3_of_divisors
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.models.tokenizer_keys import tokenizer_from_apr, tokenizer_from_gguf

PUBLISHED, DERIVED = "published", "derived"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file (or sharded set, by its index) in one format. `sha256` covers its weight files.

    After `identify_by_state` it is no hash of bytes, and says so: `state-` and 64 hexadecimal digits.
    """

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


_DIGESTS: dict[tuple[object, ...], str] = {}
_by_state = False


def identify_by_state() -> None:
    """From now on in this process, tell files by path, inode, size and times of change instead of hashing them.

    For runs whose evidence nobody keeps: hashing a large file takes as long as comparing its weights. Whoever says that
    two files have the same bytes must hash them.
    """
    global _by_state
    _by_state = True


def describe_artifact(path: Path, format_name: str, *, origin: str = PUBLISHED) -> Artifact:
    """Digest a file or folder without judging it; what does not open is digested as it lies. ModelError: no file."""
    try:
        with open_tensor_file(path) as file:
            files = list(file.files)
    except (FormatError, OSError):
        files = _files_as_they_lie(path, format_name)
    try:
        digest = _state_of(files) if _by_state else _sha256_of(files)
    except OSError as error:
        raise ModelError(path, "file", f"cannot be read: {error.strerror or error}") from None
    return Artifact(format=format_name, path=path, origin=origin, sha256=digest)


def _files_as_they_lie(path: Path, format_name: str) -> list[Path]:
    if not path.is_dir():
        return [path]
    extension = EXTENSIONS.get(format_name, f".{format_name}")
    files = sorted(one for one in path.iterdir() if one.suffix == extension and one.is_file())
    if not files:
        raise ModelError(path, "folder", f"holds no {extension} file", advice="fetch the weights of the model")
    return files


def _sha256_of(files: list[Path]) -> str:
    return _digest_of(files[0]) if len(files) == 1 else sha256_of(files)


def _digest_of(path: Path) -> str:
    key = _state(path)
    if key not in _DIGESTS:
        _DIGESTS[key] = sha256_of([path])
    return _DIGESTS[key]


def _state_of(paths: list[Path]) -> str:
    """`state-` and 64 hexadecimal digits, other ones when a file was replaced or written to."""
    told = [_state(path) for path in paths]
    return "state-" + hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


def _state(path: Path) -> tuple[object, ...]:
    """Path and what the file system says of it. The time of change of the entry cannot be set, as that of the data."""
    s = os.stat(path)
    return (str(path.resolve()), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


class OpenArtifact:
    """An open file. `config`, `tokenizer` and `tensors` are read when first asked for, from the artifact itself."""

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
            return config_from_hf(self.file.path)
        read = config_from_gguf if self.format == "gguf" else config_from_apr
        config = read(self.file.path, self.file.metadata, self.file.entries)
        if any(name in self.file.entries for name in LONG_FACTORS.values()):
            return self._scaled_by_lists(config)
        return self._scaled_by_divisors(config) if config.rope_scaling == STORED_FACTORS else config

    def _scaled_by_lists(self, config: ModelConfig) -> ModelConfig:
        """`config` with LongRoPE's divisors, one per rotated pair, which the file holds as tensors."""
        lists = {
            field: tuple(float(divisor) for divisor in self.file.read(name).reshape(-1))
            for field, name in LONG_FACTORS.items()
            if name in self.file.entries
        }
        fields = dict(config.rope_scaling) | lists | {"rope_type": "longrope"}
        return replace(config, rope_scaling=tuple(sorted(fields.items())))

    def _scaled_by_divisors(self, config: ModelConfig) -> ModelConfig:
        """`config` with the rule of the divisors that the file holds as a tensor."""
        shape, pairs = self.file.entries[FACTORS].shape, config.head_dim // 2
        if shape != (pairs,):
            found = shape[0] if len(shape) == 1 else list(shape)
            raise ModelError(self.file.path, FACTORS, "has not one divisor per pair", found=found, limit=pairs)
        divisors = [float(divisor) for divisor in self.file.read(FACTORS)]
        return replace(config, rope_scaling=llama3_of_divisors(self.file.path, divisors, config.rope_theta))

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
