"""Every gate id of the specification is a check, or is on the page that says what covers it; what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_aprqa.cli.main import cli
from pytest_aprqa.conversions import conversions_for
from pytest_aprqa.falsify.gates import RECORDS
from pytest_aprqa.suite.provenance_rules import RULES

REPOSITORY = Path(__file__).resolve().parents[2]
IDS = (REPOSITORY / "tests/data/specification_gate_ids.txt").read_text(encoding="utf-8").split()
CHECKS = (REPOSITORY / "docs/reference/checks.md").read_text(encoding="utf-8").split("## Records, not gates")[0]
PAGE = (REPOSITORY / "docs/reference/gate-ids.md").read_text(encoding="utf-8")
GATES = set(re.findall(r"^\| `([^`]+)` \|", CHECKS, re.MULTILINE))
NO_GATE = "no gate"


def emitted() -> set[str]:
    """The ids of the reference, and what its three templates become."""
    edges = {f"F-CONV-{one.gate}" for one in conversions_for(("gguf", "apr", "safetensors"))}
    return GATES | edges | set(RULES) | {f"F-A{number}-001" for number in range(1, 7)}


def expanded(cell: str) -> list[str]:
    """`A-001…003` is three ids."""
    found = []
    for text in re.findall(r"`([^`]+)`", cell):
        first, _, last = text.partition("…")
        prefix, _, number = first.rpartition("-")
        found += [f"{prefix}-{n:03d}" for n in range(int(number), int(last) + 1)] if last else [first]
    return found


def rows() -> list[tuple[list[str], str, str]]:
    lines = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    assert all(len(cells) == 3 for cells in lines), [cells[0] for cells in lines if len(cells) != 3]
    return [(expanded(ids), covered, reason) for ids, covered, reason in lines]


def test_every_id_of_the_specification_is_a_check_or_has_one_row():
    on_page = [one for ids, _, _ in rows() for one in ids]
    assert len(on_page) == len(set(on_page)), "an id has two rows"
    assert sorted(set(IDS) - emitted() - set(on_page)) == [], "neither a check nor on the page"
    assert sorted(set(on_page) - set(IDS)) == [], "not of the specification"
    assert sorted(set(on_page) & emitted()) == [], "it is a check: no row is needed"
    assert str(len(IDS)) in PAGE.splitlines()[2]


def test_the_list_of_ids_is_sorted_and_each_stands_once():
    assert sorted(set(IDS)) == IDS
    assert len(IDS) > 350


@pytest.mark.parametrize(("ids", "covered", "reason"), rows(), ids=[row[0][0] for row in rows()])
def test_what_a_row_names_exists(ids, covered, reason):
    assert reason.strip()
    if covered != NO_GATE:
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", covered), covered
        assert set(re.findall(r"`([^`]+)`", covered)) <= GATES
    for path in re.findall(r"tests/[\w/]+\.py", reason):
        assert (REPOSITORY / path).is_file(), path
    for command in re.findall(r"`aprqa ([\w-]+)", reason):
        assert command in cli.list_commands(None), command
    named = set(re.findall(r"`((?:G\d|F)-[^`]+)`", reason))
    assert named <= GATES, named


def test_a_range_is_all_its_ids_and_records_are_no_gates():
    assert expanded("`F-INT-001…003`, `G1-LOAD`") == ["F-INT-001", "F-INT-002", "F-INT-003", "G1-LOAD"]
    assert GATES
    assert not [name for name in RECORDS if f"`{name}`" in CHECKS]
