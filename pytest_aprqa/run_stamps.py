"""What every entry says about its run: playbook, plugin, limits, collection, shard; and the key of its item."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa import __version__
from pytest_aprqa.collection import PlaybookFile, target_of
from pytest_aprqa.evidence import collection_record as names
from pytest_aprqa.sharding import COLLECTION_RECORD

if TYPE_CHECKING:
    import pytest

    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

# Distributions that change what a check may find.
DISTRIBUTIONS = ("torch", "transformers", "tokenizers", "numpy", "gguf", "llama-cpp-python", "numba", "jinja2")


def run_stamps(item: pytest.Item, state: RunState) -> dict[str, str]:
    """Metadata of an entry: digests and versions that merge, certificate and verification compare."""
    file = item.getparent(PlaybookFile)
    assert file is not None
    stamps = {
        names.PLUGIN_VERSION: __version__,
        names.PLAYBOOK_DIGEST: playbook_digest(file.path),
        names.LIMITS_VERSION: limits_version(),
    }
    record = item.config.stash.get(COLLECTION_RECORD, None)
    if record is not None and record.digest:
        stamps |= {names.COLLECTION: record.digest, names.COLLECTION_ITEMS: str(record.items)}
    if record is not None and record.shard:
        stamps |= {names.SHARD: record.shard, names.SHARD_ITEMS: str(record.shard_items)}
        stamps |= {names.SPLIT: record.split, names.SPLIT_ITEMS: str(record.split_items)}
    return stamps


def source_stamp(model: ModelUnderTest) -> dict[str, str]:
    """The digests of the ground truth and of what is declared beside it, where there is one."""
    from pytest_aprqa.declared_files import declarations_digest

    try:
        source = model.source()
        return {names.SOURCE_DIGEST: source.sha256, names.DECLARATIONS_DIGEST: declarations_digest(source.path)}
    except (OSError, ValueError, RuntimeError):
        return {}


@functools.cache
def playbook_digest(path: Path) -> str:
    """SHA-256 of a playbook, read once a process."""
    from pytest_aprqa.playbooks.lock import digest

    return digest(path)


@functools.cache
def limits_version() -> str:
    """Version of the table of limits, of weights and of behaviour."""
    from pytest_aprqa.numerics.limits import limits_table

    return str(limits_table()["version"])


def item_key(item: pytest.Item, state: RunState) -> str | None:
    """SHA-256 of all that decides the outcome of an item; None where something that cannot be known decides it.

    Check and cell, the source of the check, playbook, artifacts, ground truth, engine choice, versions, time limit.
    """
    file = item.getparent(PlaybookFile)
    assert file is not None
    model = state.model_for(file.playbook)
    settings = model.settings
    if settings.engine_url is not None:
        return None  # somebody else's server: nobody knows what is behind it today
    target = target_of(item)
    formats = file.playbook.matrix.formats if target is None or target.format is None else [target.format]
    facts: dict[str, Any] = {
        "item": names.item_name(item.nodeid),
        "check": check_digest(item),
        "playbook": playbook_digest(file.path),
        "plugin": __version__,
        "limits": limits_version(),
        "engine": [*settings.engine, *(f"{one.name}={one.target}" for one in settings.plugins)],
        "apr": _program_digest(settings.apr_binary or _apr_of_path(settings.engine)),
        "no_gpu": settings.no_gpu,
        "timeout_ms": settings.timeout_ms,
        "against": settings.against is not None,
        "versions": installed_versions(),
        "source": source_stamp(model),
        "artifacts": {name: _artifact_identity(model, name) for name in formats},
        "configuration": _companions_digest(model, file.playbook),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def check_digest(item: pytest.Item) -> str:
    """SHA-256 of the file that holds the check: an edited check is another check."""
    function = getattr(item, "function", None)
    try:
        source = inspect.getsourcefile(function) if function is not None else None
    except TypeError:
        source = None
    return _file_digest(source) if source else ""


@functools.cache
def _file_digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _apr_of_path(engine: tuple[str, ...]) -> str | None:
    """`apr` where `--engine` names it without a program: the one of PATH runs."""
    return "apr" if any(word.rpartition("=")[2] == "apr" for word in engine) else None


def _program_digest(name: str | None) -> str:
    """SHA-256 of the `apr` program of this run; empty when none is named."""
    import shutil

    found = shutil.which(name) if name else None
    return _file_digest(found) if found else (name or "")


@functools.cache
def installed_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that run models; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _artifact_identity(model: ModelUnderTest, format_name: str) -> str:
    """The digest of a published file; `derived` for one that plugin and source decide, which is not made for this."""
    from pytest_aprqa.models.location import find_artifact_file

    try:
        if find_artifact_file(model.location.folder, format_name) is None:
            return "derived"
        return model.artifact(format_name).sha256
    except (OSError, ValueError, RuntimeError) as error:
        return f"none: {error}"


COMPANION_SUFFIXES = (".json", ".txt", ".jinja", ".model", ".md", ".yaml")
LARGEST_COMPANION = 64 << 20  # bytes


def _companions_digest(model: ModelUnderTest, playbook: Playbook) -> str:
    """SHA-256 of configuration, tokenizer and template files beside the weights: they decide as the weights do."""
    try:
        folder = model.location.folder
    except (OSError, ValueError, RuntimeError):
        return ""
    folder = folder if folder.is_dir() else folder.parent
    files = sorted(p for p in folder.iterdir() if p.suffix in COMPANION_SUFFIXES and p.is_file())
    stats = tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return _digest_of_companions(stats)


@functools.cache
def _digest_of_companions(files: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, size, _ in files:
        digest.update(Path(path).name.encode() + b"\0" + str(size).encode() + b"\0")
        if size <= LARGEST_COMPANION:
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()
