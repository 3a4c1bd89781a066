"""The rules of `.provenance.json` (PROV-001 to PROV-009): what each finds wrong between the record and the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.tensor_file import sha256_of

CONVERTERS: Final = ("apr-cli", "pytest-aprqa")  # the reference tool, and our own conversions
GROUND_TRUTH: Final = "safetensors"

Problem = tuple[str, Any, Any]  # where, found, limit


def _derived(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [entry for entry in document.get("derived") or () if isinstance(entry, Mapping)]


def _entries(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [document["source"], *_derived(document)]


def one_source(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """Every derived file that names its source's hash names the same one."""
    expected = document["source"].get("sha256")
    return [
        (f"{entry.get('format')}.source_sha256", entry["source_sha256"], expected)
        for entry in _derived(document)
        if entry.get("source_sha256") not in (None, expected)
    ]


def known_converter(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """Derived files were made by a converter that is accepted."""
    return [
        (f"{entry.get('format')}.converter", entry.get("converter"), " | ".join(CONVERTERS))
        for entry in _derived(document)
        if str(entry.get("converter")).partition("/")[0] not in CONVERTERS
    ]


def source_is_truth(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """The source is SafeTensors."""
    found = document["source"].get("format")
    return [] if found == GROUND_TRUTH else [("source.format", found, GROUND_TRUTH)]


def same_quantisation(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """Files of the formats that are compared have the same quantization."""
    kinds = {str(e.get("format")): e.get("quantization") for e in _derived(document) if e.get("format") in formats}
    if len(set(kinds.values())) < 2:
        return []
    return [("quantization", ", ".join(f"{name} {kind}" for name, kind in sorted(kinds.items())), "the same")]


def hashes_hold(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """The recorded hash of every file that is there is the file's."""
    problems = []
    for entry in _entries(document):
        path = _path(folder, entry)
        if path is None or not path.is_file():
            continue
        try:
            found = sha256_of([path])
        except FormatError as error:
            problems.append((str(path), str(error), entry.get("sha256")))
            continue
        if found != entry.get("sha256"):
            problems.append((str(path), found, entry.get("sha256")))
    return problems


def files_exist(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """Every file of the record is there."""
    problems: list[Problem] = []
    for entry in _entries(document):
        path = _path(folder, entry)
        if path is None or not path.is_file():
            problems.append((str(entry.get("path")), "no such file", "a file in the model's folder"))
    return problems


def no_duplicates(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """No format and quantization is recorded twice."""
    counts = Counter((str(e.get("format")), str(e.get("quantization"))) for e in _derived(document))
    return [(" ".join(key), f"{count} entries", 1) for key, count in counts.items() if count > 1]


def formats_listed(document: Mapping[str, Any], folder: Path, formats: tuple[str, ...]) -> list[Problem]:
    """Every format of which the folder has a file is in the record."""
    from pytest_aprqa.models.location import find_artifact_file

    listed = {str(entry.get("format")) for entry in _entries(document)}
    present = [name for name in formats if find_artifact_file(folder, name) is not None]
    return [(name, "not listed", "an entry of the record") for name in present if name not in listed]


def _path(folder: Path, entry: Mapping[str, Any]) -> Path | None:
    """The file of an entry, inside the folder; None where the record names none or leads out of it."""
    name = entry.get("path")
    if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
        return None
    return folder / name


Rule = Callable[[Mapping[str, Any], Path, tuple[str, ...]], list[Problem]]
# PROV-004, the record itself is missing, is a skip: nothing was claimed.
RULES: Final[dict[str, tuple[Rule, str]]] = {
    "PROV-001": (one_source, "derived from another source"),
    "PROV-002": (known_converter, "Invalid converter"),
    "PROV-003": (source_is_truth, "Invalid source format"),
    "PROV-005": (same_quantisation, "formats of different quantization are compared"),
    "PROV-006": (hashes_hold, "Hash mismatch"),
    "PROV-007": (files_exist, "a recorded file is missing"),
    "PROV-008": (no_duplicates, "recorded twice"),
    "PROV-009": (formats_listed, "a format is not in the record"),
}
