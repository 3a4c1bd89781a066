"""The front matter of model cards: read the same whatever the line ends; what is hostile is in tests/hostile."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.model_card import MAX_CARD_BYTES, read_model_card
from pytest_aprqa.models.errors import ModelError
from tests.plugin.conftest import TINY_MODEL

CARD = "---\nlicense: apache-2.0\nlanguage:\n- no\n- de\nversion: 1.10\n---\n\n# A model\n\n---\n\nnote: text\n\n---\n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_gives_the_same_fields(tmp_path, end):
    path = tmp_path / "README.md"
    path.write_bytes(CARD.replace("\n", end).encode())
    card = read_model_card(tmp_path)
    assert card == read_model_card(path)
    assert card.fields["license"] == "apache-2.0"
    assert card.fields["language"] == ["no", "de"], "Norwegian is no boolean"
    assert (card.path, card.body_line) == (path, 8)


def test_rules_in_the_text_are_no_second_front_matter(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("---\nlicense: mit\n---\n---\nJust a rule above.\n", encoding="utf-8")
    assert read_model_card(path).fields == {"license": "mit"}


def test_the_longest_card_is_read_and_one_byte_more_is_not(tmp_path):
    path = tmp_path / "README.md"
    head = b"---\nlicense: mit\n---\n"
    path.write_bytes(head + b"x" * (MAX_CARD_BYTES - len(head)))
    assert read_model_card(path).fields == {"license": "mit"}
    path.write_bytes(head + b"x" * (MAX_CARD_BYTES + 1 - len(head)))
    with pytest.raises(ModelError, match=rf"too long for a card \(found {MAX_CARD_BYTES + 1}, limit {MAX_CARD_BYTES}"):
        read_model_card(path)


def test_inspect_shows_the_card_or_what_is_wrong_with_it(tmp_path, capsys):
    assert call(["inspect", str(TINY_MODEL), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["card"]["license"] == "apache-2.0"
    assert facts["card_problem"] is None
    (tmp_path / "model.safetensors").write_bytes((TINY_MODEL / "model.safetensors").read_bytes())
    (tmp_path / "README.md").write_text("# no fields\n", encoding="utf-8")
    assert call(["inspect", str(tmp_path)]) == 0
    assert "README.md: line 1: has no front matter" in capsys.readouterr().out
