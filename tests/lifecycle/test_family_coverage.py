"""No family is left out: each has a template, names, rules of GGUF or the reason why not, and a model in the tests."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF, FAMILY_OF, TABLES
from pytest_aprqa.lifecycle.gguf_rules import NOT_IN_LLAMA_CPP, RULES
from pytest_aprqa.lifecycle.to_gguf import ARCHITECTURES
from pytest_aprqa.models.family_table import FAMILY_TABLE
from pytest_aprqa.models.family_templates import KNOWN
from tests.lifecycle.reshaped_families import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "families.md"
WITHOUT_TEMPLATE = {"falcon_two_norms", "qwen2_moe"}  # a second table of Falcon; names only


def test_every_family_of_the_table_is_known_and_written() -> None:
    assert len(FAMILY_TABLE) >= 16
    assert set(FAMILY_TABLE) <= set(KNOWN)
    assert set(FAMILY_TABLE) <= set(RULES) | set(NOT_IN_LLAMA_CPP)


def test_every_template_has_rules_of_gguf_or_a_reason_and_a_model_in_the_tests() -> None:
    assert set(KNOWN) == set(RULES) | set(NOT_IN_LLAMA_CPP)
    assert not set(RULES) & set(NOT_IN_LLAMA_CPP)
    assert set(FAMILIES) == set(RULES) == set(ARCHITECTURES)
    assert set(TABLES) - WITHOUT_TEMPLATE <= set(KNOWN)


@pytest.mark.parametrize("family", RULES)
def test_the_architecture_leads_back_to_the_family_or_to_the_one_whose_code_runs_it(family: str) -> None:
    architecture = ARCHITECTURES[family]
    assert FAMILY_OF.get(architecture, architecture) == family or ARCHITECTURE_OF[family] == architecture == "llama"


def test_the_page_has_a_row_for_each() -> None:
    rows = [row for row in csv.reader(PAGE.read_text(encoding="utf-8").splitlines(), delimiter="|") if len(row) > 6]
    named = {row[1].strip(): row for row in rows}
    engines = [cell.strip() for cell in rows[0]].index("Engines")
    assert set(RULES) | set(NOT_IN_LLAMA_CPP) <= set(named)
    for family in RULES:
        assert "llama.cpp" in named[family][engines], family
        assert named[family][2].strip() == ARCHITECTURES[family]
    for family, reason in NOT_IN_LLAMA_CPP.items():
        assert reason in named[family][2]
