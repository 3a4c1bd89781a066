"""The gates of the suite, the columns of the kill matrix: read from the marks of its test functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

# Items that are no gates: they cannot fail. Without them, what a playbook asks for and nobody runs would be silent.
ONLY_SKIP = "it only puts into the evidence what is not run, and is skipped whatever the model is"
RECORDS = {"test_configured_block": ONLY_SKIP, "test_declared_skip": ONLY_SKIP}
# By the first part of the block that a check belongs to: what it needs that no copy of a model has, and its test.
NEEDS = {
    "hf_parity": "it needs golden answers recorded for this very model; made to fail in test_golden_corpus_fails.py",
    "ollama_parity": "it needs an Ollama server; made to fail in test_ollama_parity_fails.py",
    "falsification_gates": "it judges what the playbook states; made to fail in test_falsification_gates_fails.py",
    "property_tests": "it needs a property that the playbook states; made to fail in test_properties_fails.py",
    "profile_ci": "it judges speed and memory of this machine; made to fail in test_profile_fails.py",
}
NOT_CONFIGURED = "its block is not configured for the copies"  # of a user's own check


def gates_of_suite(config: pytest.Config) -> list[dict[str, str]]:
    """`gate`, `check`, `group` (gateway or invariant, else empty) and `title` of every check that `--falsify` tries."""
    rows = []
    for name, function in _checks(config):
        marks = _marks(function)
        if reason_to_leave_out(name, marks) is not None:
            continue
        gate = _gate(name, marks)
        group = next((str(marks[kind].args[0]) for kind in ("gateway", "invariant") if kind in marks), "")
        title = (function.__doc__ or "").strip().split("\n", 1)[0]
        rows.append({"gate": gate, "check": name, "group": group, "title": title})
    return rows


def gates_left_out(config: pytest.Config) -> list[dict[str, str]]:
    """`gate`, `check` and `reason` of every gate of the suite that is no column; records are no gates."""
    rows = []
    for name, function in _checks(config):
        if name in RECORDS:
            continue
        marks = _marks(function)
        reason = reason_to_leave_out(name, marks)
        if reason is not None:
            rows.append({"gate": _gate(name, marks), "check": name, "reason": reason})
    return rows


def reason_to_leave_out(name: str, marks: Mapping[str, pytest.Mark]) -> str | None:
    """Why a check is no column; None where it is one."""
    from pytest_aprqa.falsify.bases import BLOCKS

    if name in RECORDS:
        return RECORDS[name]
    block = str(marks["block"].args[0]) if "block" in marks else None
    return None if block is None or block in BLOCKS else NEEDS.get(block.split(".")[0], NOT_CONFIGURED)


def _checks(config: pytest.Config) -> list[tuple[str, Any]]:
    from pytest_aprqa.collection import checks_namespace

    named = vars(checks_namespace(config)).items()
    return [(name, function) for name, function in named if name.startswith("test") and callable(function)]


def _marks(function: Any) -> dict[str, pytest.Mark]:
    return {mark.name: mark for mark in getattr(function, "pytestmark", [])}


def _gate(name: str, marks: Mapping[str, pytest.Mark]) -> str:
    return str(marks["gate"].args[0]) if "gate" in marks else f"CHECK-{name}"
