"""`aprqa parity`: record from transformers, compare, refuse what is corrupted, show that the comparison bites."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.lifecycle.derive import derive
from tests.plugin.conftest import TINY_MODEL

DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden") / "corpus"
    arguments = ["parity", "--record", str(TINY_MODEL), "--output", str(folder)]
    assert call([*arguments, "--prompt", "What is 2+2?", "--prompt", "Hello", "--new-tokens", "4"]) == 0
    return folder


@pytest.fixture
def copy(corpus, tmp_path):
    return shutil.copytree(corpus, tmp_path / "copy")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = shutil.copytree(TINY_MODEL, tmp_path_factory.mktemp("broken") / "model")
    with open_tensor_file(TINY_MODEL) as file:
        tensors = {name: file.read(name) for name in file.entries}
    tensors[DOWN] = tensors[DOWN] * np.float32(8)
    stored = {n: ("BF16", v.shape, codecs.encode("BF16", v)) for n, v in tensors.items()}
    write_safetensors(folder / "model.safetensors", stored)
    return folder


def test_a_recorded_corpus_has_prompts_ids_logits_and_digests(corpus, capsys):
    manifest = json.loads((corpus / "manifest.json").read_text())
    assert manifest["prompts"] == ["52cb6b5e4a038af1", "185f8db32271fe25"]
    assert len(manifest["files"]) == 4
    assert manifest["dtype"] == "float32"
    golden = json.loads((corpus / "52cb6b5e4a038af1.json").read_text())
    assert golden["prompt"] == "What is 2+2?"
    assert golden["summary"][0]["best_ids"][0] == golden["generated_ids"][0]
    assert call(["parity", str(corpus), "--list"]) == 0
    assert "52cb6b5e4a038af1  'What is 2+2?'" in capsys.readouterr().out


@pytest.mark.parametrize("format_name", ["safetensors", "gguf"])
def test_the_recorded_model_has_parity_in_every_format_at_the_strictest_level(corpus, format_name, tmp_path, capsys):
    path = TINY_MODEL if format_name == "safetensors" else derive(TINY_MODEL, format_name, cache=tmp_path).path
    assert call(["parity", str(corpus), str(path), "--tolerance", "fp32"]) == 0
    assert "PARITY VERIFIED: 2 of 2 prompts" in capsys.readouterr().out


def test_a_changed_weight_falsifies_parity(corpus, broken, capsys):
    assert call(["parity", str(corpus), str(broken), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["tolerance"] == "fp16"
    assert not told["passed"]
    assert "logits" in told["prompts"][0]["problems"][0]


def test_the_self_check_passes(corpus, capsys):
    assert call(["parity", str(corpus), "--self-check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"passed": 64, "failed": 0, "failures": []}


def rewrite(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


CORRUPTIONS = {
    "a flipped byte": (lambda folder: flip(folder / "52cb6b5e4a038af1.safetensors"), "corrupted corpus"),
    "another prompt": (lambda folder: rewrite(folder / "52cb6b5e4a038af1.json", prompt="x"), "sha256 is not"),
    "a missing file": (lambda folder: (folder / "185f8db32271fe25.json").unlink(), "missing, the manifest names it"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    "torn manifest": (lambda folder: (folder / "manifest.json").write_text('{"prompts": ['), "is not JSON"),
    "no prompts": (lambda folder: rewrite(folder / "manifest.json", prompts=[]), "prompts: missing or empty"),
    "a path for a hash": (lambda folder: rewrite(folder / "manifest.json", prompts=["../../x"]), "16 hex digits"),
    "another version": (lambda folder: rewrite(folder / "manifest.json", version=2), "found 2, limit 1"),
}


def flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 64
    path.write_bytes(data)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_corpus_is_refused_with_one_line(copy, name, capsys):
    damage, words = CORRUPTIONS[name]
    damage(copy)
    assert call(["parity", str(copy), "--self-check"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def test_logits_that_did_not_choose_the_tokens_are_refused_even_without_digests(copy, capsys):
    rewrite(copy / "manifest.json", files={})
    rewrite(copy / "52cb6b5e4a038af1.json", generated_ids=[1, 1, 1, 1])
    assert call(["parity", str(copy), "--list"]) == 1
    assert "the logits chose" in capsys.readouterr().err


def test_wrong_use_is_told(corpus, tmp_path, capsys):
    assert call(["parity"]) == 2
    assert call(["parity", str(corpus)]) == 2
    assert call(["parity", "--record", str(TINY_MODEL)]) == 2
    assert call(["parity", "--record", str(tmp_path), "--output", str(tmp_path / "x")]) == 1
    assert "no config.json" in capsys.readouterr().err
    assert call(["parity", "--record", str(TINY_MODEL), "--output", str(corpus)]) == 1
    assert "a corpus is there already" in capsys.readouterr().err
