"""`aprqa check` names what files declare besides tensors and numbers: special tokens, sampling, ends, code, card."""

import shutil

import pytest

from pytest_aprqa.artifact_check import check
from pytest_aprqa.defects.catalogue import DEFECTS, apply_defect
from pytest_aprqa.defects.expectations import expectation_of
from pytest_aprqa.defects.in_companions import DEFECTS as COMPANIONS
from pytest_aprqa.defects.in_gguf_keys import DEFECTS as KEYS
from pytest_aprqa.lifecycle.derive import derive
from tests.plugin.conftest import TINY_MODEL

CARD = "---\nbase_model: {base}\n---\n\n| Name | Type |\n|---|---|\n| [m.gguf](m.gguf) | `{type}` |\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("declarations-cache")


def test_each_declaration_is_refuted_by_its_gate_with_its_cause(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(cache))
    clean = {name: derive(TINY_MODEL, name, cache=cache).path for name in ("gguf", "apr")}
    names = [*(one.name for one in (*COMPANIONS, *KEYS)), "apr-begin-token-wrong"]
    broken = {}
    for name in names:
        kind = DEFECTS[name].format
        place = tmp_path / name if kind == "safetensors" else tmp_path / f"{name}.{kind}"
        broken[name] = apply_defect(name, clean.get(kind, TINY_MODEL), place)
    clean["safetensors"] = shutil.copytree(TINY_MODEL, tmp_path / "copy")
    result = check([*broken.values(), *clean.values()], TINY_MODEL, "tokens")
    for name, path in broken.items():
        expected = expectation_of(name)
        found = [one for one in result.findings if one.artifact == str(path)]
        assert any(one.gate in expected.gates and expected.matches(one.message) for one in found), (name, found)
    for path in clean.values():
        assert result.verdict_of(str(path)) == "not refuted"


def test_a_card_that_lies_beside_a_gguf_file(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(cache))
    clean = derive(TINY_MODEL, "gguf", cache=cache).path
    cards = {
        "right": CARD.format(base="somebody/tiny-qwen2", type="BF16"),
        "type": CARD.format(base="somebody/tiny-qwen2", type="Q4_K_M"),
        "base": CARD.format(base="somebody/other-qwen2", type="BF16"),
    }
    files = {}
    for name, text in cards.items():
        files[name] = tmp_path / name / "m.gguf"
        files[name].parent.mkdir()
        shutil.copyfile(clean, files[name])
        (files[name].parent / "README.md").write_text(text)
    result = check(list(files.values()), TINY_MODEL, "structure")
    rows = [(one.artifact, one.gate, one.where, one.found, one.limit) for one in result.findings]
    gate = "G0-INTEGRITY-SOURCE"
    assert rows == [
        (str(files["type"]), gate, "model card: type of m.gguf", "Q4_K_M", "BF16"),
        (str(files["base"]), gate, "model card: base_model", "somebody/other-qwen2", "tiny-qwen2"),
    ]
