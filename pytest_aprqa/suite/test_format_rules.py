"""`differential_tests.format_validation`: types, alignment and header of the file itself, without the source."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.suite.findings import listed

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.formats.tensor_file import TensorFile
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook

BLOCK = "differential_tests.format_validation"
APR_ALIGNMENT, GGUF_ALIGNMENT = 64, 32  # bytes; a GGUF file may declare another in general.alignment


@pytest.mark.block(BLOCK)
@pytest.mark.opens_artifact
@pytest.mark.gate("F-APR-FORMAT-001", severity="P0")
@pytest.mark.depth("structure")
def test_types_explain_the_bytes(artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> None:
    """Every tensor's type is known, and its shape in that type takes exactly the bytes that the index says."""
    from pytest_aprqa.formats.blocks import tensor_nbytes

    _require_check(playbook, "dtype_mapping")
    problems = []
    for name, entry in artifact.file.entries.items():
        if name == _tied_head(artifact.file):
            continue
        try:
            wanted = tensor_nbytes(entry.dtype, entry.shape)
        except KeyError:
            problems.append(f"{name}: type {entry.dtype} is not known")
            continue
        if wanted != entry.nbytes:
            problems.append(f"{name}: {entry.nbytes} bytes of {entry.dtype} {list(entry.shape)}, {wanted} needed")
            observe.finding(name, entry.nbytes, wanted, "the type does not explain the bytes")
    observe("tensors", len(artifact.file.entries), limit=">= 1", passed=bool(artifact.file.entries))
    observe("unexplained", len(problems), limit=0, passed=not problems)
    assert artifact.file.entries, f"{artifact.file.path.name}: no tensor in the file"
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-APR-FORMAT-002", severity="P0")
@pytest.mark.depth("structure")
def test_tensors_are_aligned(lenient_file: TensorFile, playbook: Playbook, observe: Observe) -> None:
    """Tensors of an APR file begin at multiples of 64 bytes, those of a GGUF file at its declared alignment."""
    _require_check(playbook, "tensor_alignment")
    if lenient_file.format == "safetensors":
        pytest.skip("SafeTensors files pack their tensors without an alignment")
    alignment = APR_ALIGNMENT
    if lenient_file.format == "gguf":
        alignment = int(lenient_file.metadata.get("general.alignment", GGUF_ALIGNMENT))
    entries = lenient_file.entries
    problems = [
        f"{name}: offset {entry.offset} is {entry.offset % alignment} bytes past a multiple of {alignment}"
        for name, entry in entries.items()
        if entry.offset % alignment
    ]
    observe("tensors", len(entries), limit=">= 1", passed=bool(entries))
    observe("misaligned", len(problems), limit=0, passed=not problems)
    assert entries, "no tensor in the file"
    assert not problems, listed(problems)


@pytest.mark.block(BLOCK)
@pytest.mark.opens_artifact
@pytest.mark.gate("F-APR-FORMAT-003", severity="P0")
@pytest.mark.depth("structure")
def test_header_is_sound(artifact: OpenArtifact, playbook: Playbook, observe: Observe) -> None:
    """The header opens strictly: magic, version, bounds and checksums hold, and no tensor lies in another's bytes."""
    _require_check(playbook, "header_integrity")
    file = artifact.file
    by_file: dict[str, list[tuple[int, int, str]]] = {}
    for name, entry in file.entries.items():
        by_file.setdefault(str(file.file_of(name)), []).append((entry.offset, entry.nbytes, name))
    tied = f"{_tied_head(file)!r}: holds no bytes"
    problems = [str(warning) for warning in file.warnings if tied not in str(warning)]
    for rows in by_file.values():
        rows.sort()
        for (begin, size, first), (after, _, second) in itertools.pairwise(rows):
            if begin + size > after:
                problems.append(f"{first} and {second} share bytes {after} to {begin + size}")
    observe("tensors", len(file.entries), limit=">= 1", passed=bool(file.entries))
    observe("faults", len(problems), limit=0, passed=not problems)
    assert file.entries, "no tensor in the file"
    assert not problems, listed(problems)


def _tied_head(file: TensorFile) -> str | None:
    """The head that an APR file stores without bytes, as the `apr` program does: it stands for the embedding."""
    name: str | None = getattr(file, "tied_head", None)
    return name


def _require_check(playbook: Playbook, name: str) -> None:
    if name not in playbook.blocks[BLOCK]["checks"]:
        pytest.skip(f"{BLOCK}.checks does not name {name}")
