"""The table of blocks that the suite runs is what its checks are marked with: no gate is promised and not filed."""

from __future__ import annotations

import importlib

from pytest_aprqa.collection import SUITE_MODULES
from pytest_aprqa.playbooks.blocks import RUN_BLOCKS


def gates_by_block():
    found = {}
    for name in SUITE_MODULES:
        module = importlib.import_module(name)
        for function in vars(module).values():
            if getattr(function, "__module__", "") != name:
                continue
            marks = {mark.name: mark for mark in getattr(function, "pytestmark", [])}
            if "block" in marks:
                found.setdefault(marks["block"].args[0], set()).add(marks["gate"].args[0])
    return found


def test_every_gate_of_a_block_has_its_check_and_no_check_is_of_an_unknown_block():
    found = {block: gates for block, gates in gates_by_block().items() if not block.startswith("profile_ci.")}
    assert found == {block: set(gates) for block, gates in RUN_BLOCKS.items()}


def test_speed_is_judged_only_where_a_field_of_the_profile_asks_for_it():
    fields = {block for block in gates_by_block() if block.startswith("profile_ci.")}
    assert fields == {
        *(f"profile_ci.assertions.{name}" for name in ("max_p99_ms", "max_p50_ms", "max_memory_mib")),
        "profile_ci.baseline",
    }
