"""`apr qa` and `apr rosetta`: what each must print or make to pass, and controls that each must refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.altered_copies import other_values
from pytest_aprqa.engines.apr_output import json_of
from pytest_aprqa.engines.apr_tool import Given, Tool, gate_of
from pytest_aprqa.engines.process import Finished

STATISTICS = ("mean", "std", "min", "max", "checksum")
FULL_WIDTH = frozenset({"F32", "F16", "BF16", "F64"})
SHOWN = 3


def qa(done: Finished, given: Given) -> str | None:
    """No gate that ran may fail, and one must have run: `skipped` gates count for nothing."""
    gates = [gate for gate in json_of(done.stdout).get("gates") or [] if isinstance(gate, dict)]
    ran = [gate for gate in gates if gate.get("skipped") is not True]
    failed = [str(gate.get("name")) for gate in ran if gate.get("passed") is not True]
    if not ran:
        return f"none of {len(gates)} gates ran"
    return f"{len(failed)} of {len(ran)} gates that ran failed: {', '.join(failed[:SHOWN])}" if failed else None


def inspected(done: Finished, given: Given) -> str | None:
    """A format and at least one tensor."""
    fields = json_of(done.stdout)
    if not isinstance(fields.get("format"), str):
        return f"format: found {fields.get('format')!r}, a name is needed"
    return _count(fields, "tensor_count")


def verified(done: Finished, given: Given) -> str | None:
    """A round trip that the program itself calls equivalent, without a failed tensor."""
    fields = json_of(done.stdout)
    if fields.get("is_equivalent") is not True or fields.get("failed_tensors") != 0:
        return f"is_equivalent: found {fields.get('is_equivalent')}, failed_tensors: {fields.get('failed_tensors')}"
    return None


def converted(done: Finished, given: Given) -> str | None:
    """The written file has the tensors of the file it was made of, in types that nobody made narrower unasked."""
    from pytest_aprqa.formats.opening import open_tensor_file

    target = _target(given)
    if not target.is_file():
        return f"no file {target.name} was written"
    with open_tensor_file(given.model) as one, open_tensor_file(target, strict=False) as other:
        before, after = (Counter(entry.dtype for entry in file.entries.values()) for file in (one, other))
    if sum(after.values()) < 1:
        return "no tensor was written"
    narrower = [f"{after[name]} of {name}" for name in after if name not in FULL_WIDTH and name not in before]
    if narrower:
        return f"quantised without being asked: {_types(before)} became {_types(after)}"
    return None


def fingerprinted(done: Finished, given: Given) -> str | None:
    """Statistics of at least one tensor, not all of them 0: release 0.72.3 computes none by itself."""
    rows = [row for row in json_of(done.stdout).get("fingerprints") or [] if isinstance(row, dict)]
    if not rows:
        return "no tensor has a fingerprint"
    if not any(row.get(key) for row in rows for key in STATISTICS):
        return f"mean, std, min, max and checksum of all {len(rows)} tensors are 0: nothing was computed"
    return None


def within_statistics(done: Finished, given: Given) -> str | None:
    """Tensors were compared and none is far from its reference."""
    fields = json_of(done.stdout)
    if fields.get("passed") is not True or fields.get("anomalies"):
        return f"passed: found {fields.get('passed')}, anomalies: {fields.get('anomalies')}"
    return _count(fields, "total_tensors")


def same_tensors(done: Finished, given: Given) -> str | None:
    """The file's tensors are those of its source: names and shapes, as the program reads them."""
    fields = json_of(done.stdout)
    counts = {key: fields.get(key) for key in ("layout_mismatches", "missing_in_a", "missing_in_b")}
    wrong = [f"{key}: {value}" for key, value in counts.items() if value != 0]
    return ", ".join(wrong) if wrong else _count(fields, "tensors_a")


def same_inference(done: Finished, given: Given) -> str | None:
    """Tokens were compared and all of them agree."""
    fields = json_of(done.stdout)
    if fields.get("passed") is not True or fields.get("mismatches"):
        return f"passed: found {fields.get('passed')}, mismatches: {fields.get('mismatches')}"
    return _count(fields, "total_tokens")


def _count(fields: dict[str, Any], key: str) -> str | None:
    found = fields.get(key)
    return None if isinstance(found, int) and found > 0 else f"{key}: found {found}, limit at least 1"


def _types(counts: Counter[str]) -> str:
    return " and ".join(f"{number} {name}" for name, number in sorted(counts.items()))


def _target(given: Given) -> Path:
    """Another format than the file's own."""
    return given.folder / ("converted.safetensors" if given.model.suffix == ".gguf" else "converted.gguf")


def _control(given: Given) -> list[str]:
    copy = other_values(given.model, given.folder)
    return ["rosetta", "validate-stats", str(given.model), "--reference", str(copy), "--json"]


def _rosetta(
    name: str,
    judge: Callable[[Finished, Given], str | None],
    words: Callable[[Given], list[str]] = lambda given: [],
    *,
    needs_source: bool = False,
) -> Tool:
    def argv(given: Given) -> list[str]:
        return ["rosetta", name, str(given.model), *words(given), "--json"]

    return Tool(f"rosetta-{name}", gate_of(f"rosetta-{name}"), argv, judge, needs_source=needs_source)


QUALITY_TOOLS: tuple[Tool, ...] = (
    Tool("qa", "F-QA-001", lambda given: ["qa", str(given.model), "--json"], qa),
    _rosetta("inspect", inspected),
    _rosetta("verify", verified),
    _rosetta("convert", converted, lambda given: [str(_target(given))]),
    _rosetta("fingerprint", fingerprinted),
    _rosetta("validate-stats", within_statistics, lambda g: ["--reference", str(g.source)], needs_source=True),
    Tool(
        *("rosetta-validate-stats-control", "F-ROSETTA_VALIDATE_STATS-002", _control, within_statistics),
        must_fail="a copy with other values in every tensor passes as the same model",
    ),
    _rosetta("diff-tensors", same_tensors, lambda given: [str(given.source)], needs_source=True),
    _rosetta(
        *("compare-inference", same_inference),
        lambda given: [str(given.source), "--prompt", "What is 2+2?", "--max-tokens", "8"],
        needs_source=True,
    ),
)  # fmt: skip
