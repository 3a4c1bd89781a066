"""The playbooks of known models: written from facts, all valid, each with answers that its oracles can judge."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.oracles.selection import judge
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.facts import read_models, read_playbook_facts
from pytest_aprqa.playbooks.generator import SCHEMA_LINE, playbook_text
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.repository_index import RepositoryIndex
from pytest_aprqa.playbooks.scenarios import expand
from pytest_aprqa.playbooks.tiers import parse_tier

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
FACTS = read_playbook_facts(PLAYBOOKS / "facts" / "playbooks.csv")
MODELS = read_models(PLAYBOOKS / "facts" / "models.csv")


@pytest.fixture(scope="module")
def loaded():
    return {facts.file: load_playbook(PLAYBOOKS / "models" / facts.file) for facts in FACTS}


def test_there_are_117_playbooks_for_92_models():
    assert len(FACTS) == 117
    assert len(MODELS) == 92


@pytest.mark.parametrize("facts", FACTS, ids=[facts.stem for facts in FACTS])
def test_committed_playbook_is_what_its_facts_say(facts, loaded):
    text = (PLAYBOOKS / "models" / facts.file).read_text(encoding="utf-8")
    assert text == playbook_text(facts, MODELS[facts.hf_repo], schema="../playbook.schema.json")
    playbook = loaded[facts.file]
    assert not playbook.warnings
    assert playbook.model.hf_repo == facts.hf_repo
    assert playbook.matrix.formats == facts.formats
    cells = len(facts.formats) * len(facts.backends) * len(facts.modalities)
    assert len(expand(playbook)) == cells * facts.scenario_count
    assert playbook.model.expected == dict(facts.dimensions)


def test_matrix_sizes_are_those_of_the_survey(loaded):
    sizes = [len(expand(playbook)) for playbook in loaded.values()]
    assert {size: sizes.count(size) for size in set(sizes)} == {18: 74, 1800: 14, 10: 8, 9: 7, 3: 6, 6: 5, 50: 3}


def test_every_prompt_can_be_judged_by_an_oracle_that_looks(loaded):
    for playbook in loaded.values():
        for prompt in playbook.matrix.prompts:
            judgements = judge(prompt, "zzz qqq unrelated words without any number", playbook.oracles)
            assert any(judgement.verdict != "skip" for judgement in judgements), f"{playbook.name}: {prompt}"


def test_editors_find_the_schema_where_one_is_named():
    text = playbook_text(FACTS[0], MODELS[FACTS[0].hf_repo], schema="../playbook.schema.json")
    assert text.startswith(SCHEMA_LINE.format(schema="../playbook.schema.json") + "\n")


def test_index_finds_playbooks_by_what_they_test():
    index = RepositoryIndex([PLAYBOOKS / "models"])
    found = {model_id for model_id in MODELS if index.any_playbook(model_id) is not None}
    assert set(MODELS) - found == {"Qwen/Qwen2.5-0.5B-Instruct"}
    codellama = index.playbook("meta-llama/CodeLlama-7b-Instruct-hf", parse_tier("mvp"))
    assert codellama.name == "codellama-7b-mvp.playbook.yaml"
    assert (
        index.playbook("Qwen/Qwen2.5-Coder-1.5B-Instruct", parse_tier("quick")).name
        == "qwen2.5-coder-1.5b.playbook.yaml"
    )
    assert index.playbook("Qwen/Qwen2.5-0.5B-Instruct", parse_tier("mvp")) is None


def test_index_survives_files_that_are_no_playbooks(tmp_path):
    (tmp_path / "a-mvp.playbook.yaml").write_bytes(b"\xff\x00")
    (tmp_path / "b-mvp.playbook.yaml").mkdir()
    index = RepositoryIndex([tmp_path, tmp_path / "none"])
    assert index.repositories() == []
    assert index.playbook("x/A-Instruct", parse_tier("mvp")).name == "a-mvp.playbook.yaml"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,hf_repo\n", "has no column"),
        ("file,hf_repo,size_category,formats,modalities,backends,scenario_count\nx,y,,,,,many\n", "a field is wrong"),
    ],
)
def test_bad_fact_tables_are_one_line(tmp_path, text, words):
    path = tmp_path / "playbooks.csv"
    path.write_text(text)
    with pytest.raises(PlaybookError, match=words):
        read_playbook_facts(path)
    with pytest.raises(PlaybookError, match="cannot be read"):
        read_models(tmp_path / "none.csv")
