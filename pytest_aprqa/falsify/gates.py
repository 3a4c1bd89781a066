"""The gates of the suite, the columns of the kill matrix: read from the marks of its test functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def gates_of_suite(config: pytest.Config) -> list[dict[str, str]]:
    """`gate`, `check`, `group` (gateway or invariant, else empty) and `title` of every check that `--falsify` tries."""
    from pytest_aprqa.collection import checks_namespace
    from pytest_aprqa.falsify.bases import BLOCKS

    rows = []
    for name, function in vars(checks_namespace(config)).items():
        if not name.startswith("test") or not callable(function):
            continue
        marks = {mark.name: mark for mark in getattr(function, "pytestmark", [])}
        if "block" in marks and marks["block"].args[0] not in BLOCKS:
            continue
        gate = str(marks["gate"].args[0]) if "gate" in marks else f"CHECK-{name}"
        group = next((str(marks[kind].args[0]) for kind in ("gateway", "invariant") if kind in marks), "")
        title = (function.__doc__ or "").strip().split("\n", 1)[0]
        rows.append({"gate": gate, "check": name, "group": group, "title": title})
    return rows
