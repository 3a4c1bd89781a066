"""What differs between two artifacts, file by file, tensor by tensor, key by key: read without the strict readers
wherever a broken copy has to be looked at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.opening import open_tensor_file


@dataclass
class Differences:
    """Names that differ. `tensors` holds changed bytes, types or shapes; `files` every changed companion file."""

    files: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    added: set[str] = field(default_factory=set)
    tensors: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)

    def as_dict(self) -> dict[str, set[str]]:
        """Only the kinds of difference that exist."""
        return {name: value for name, value in vars(self).items() if value}


def differences(before: Path, after: Path) -> dict[str, set[str]]:
    """Differences between two healthy-to-read artifacts (folders or single files)."""
    found = Differences()
    if before.is_dir():
        weights = ".safetensors"
        one = {path.name: path.read_bytes() for path in before.iterdir() if path.suffix != weights}
        other = {path.name: path.read_bytes() for path in after.iterdir() if path.suffix != weights}
        found.files = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    old, new = snapshot(before), snapshot(after)
    found.removed = old[0].keys() - new[0].keys()
    found.added = new[0].keys() - old[0].keys()
    found.tensors = {name for name in old[0].keys() & new[0].keys() if old[0][name] != new[0][name]}
    found.keys = {key for key in old[1].keys() | new[1].keys() if old[1].get(key) != new[1].get(key)}
    return found.as_dict()


def snapshot(path: Path) -> tuple[dict[str, tuple[str, tuple[int, ...], bytes]], dict[str, Any]]:
    """(tensor name -> type, shape, bytes; metadata, of GGUF with the types of its values) of an artifact."""
    with open_tensor_file(path) as file:
        tensors = {n: (e.dtype, tuple(e.shape), file.raw(n).tobytes()) for n, e in file.entries.items()}
        types = getattr(file, "value_types", {})
        told = {key: (value, types[key]) if types else value for key, value in file.metadata.items()}
        return tensors, json.loads(json.dumps(told, default=str))


def digest_tree(path: Path) -> dict[str, bytes]:
    """Every file's bytes below a path, to prove that nothing touched it."""
    if path.is_file():
        return {path.name: path.read_bytes()}
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}
