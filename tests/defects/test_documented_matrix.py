"""The documented kill matrix knows every defect of the catalogue, every fault, and no other; none survived."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_aprqa.defects.catalogue import DEFECTS
from pytest_aprqa.falsify.faults import CONVERTER_DEFECTS, FAULTS
from pytest_aprqa.falsify.record_lies import LIES

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/kill-matrix.md"


def rows():
    text = PAGE.read_text(encoding="utf-8").split("## Defects", 1)[1]
    cells = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip("|` "): row for row in cells}


def test_every_defect_has_its_row():
    wanted = {
        *DEFECTS,
        *(f"engine-{fault.name}" for fault in FAULTS),
        *(f"converter-{name}" for name in CONVERTER_DEFECTS),
        *(f"record-{lie.name}" for lie in LIES),
    }
    assert set(rows()) == wanted, "run pytest --falsify and python docs/capture_kill_matrix.py evidence/latest"


def test_a_gate_killed_each_of_them():
    survived = [name for name, row in rows().items() if not re.search(r"`(G\d|F|PROV)-", row[2])]
    assert survived == []
