"""A derived file with a SentencePiece tokenizer in real llama.cpp: its ids are those of transformers."""

from __future__ import annotations

import dataclasses
import json
import os
import random
from pathlib import Path

import pytest
from tokenizers import processors

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.token_battery import BATTERY
from pytest_aprqa.models.tokenizer_keys import stripped_by_name
from tests.lifecycle.sentence_piece_folders import gemma_runs, phi_3_flags, sentence_piece_folder
from tests.model_fixtures import LLAMA_CONFIG, _write_folder
from tests.models.vocabulary_vectors import STORED

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install .[llama]")
pytestmark = pytest.mark.llama
SOURCE = os.environ.get("LLAMA_CPP_SOURCE")
FOLDER = Path(SOURCE) / "models" if SOURCE else STORED
NAMES = ("llama-spm", "phi-3", "baichuan")  # of kind "llama"
VOCABULARIES = [path for name in NAMES if (path := FOLDER / f"ggml-vocab-{name}.gguf").is_file()]
AROUND = ["a<tool_call>b", "a <tool_call> b", "</s> x</s>y", " <s>  <tool_call>\n", "<unk>a <unk> b"]
AROUND += ["<|user|>\n Hi<|endoftext|>\n Hi", "<tool_call> \t\n<|user|>  x", "</s> a<s> a"]


def _mixed(tokens: list[str], count: int) -> list[str]:
    """Texts of tokens put together at random: runs, cut words, spaces in all places."""
    chosen = random.Random(7)
    plain = [token.replace("\u2581", " ") for token in tokens if not token.startswith(("<", "["))]
    return ["".join(chosen.choices(plain, k=20)) for _ in range(count)]


def _differing(folder: Path, cache: Path) -> tuple[int, list[tuple[str, list[int], list[int]]]]:
    """Tokens that were compared, and the texts in which llama.cpp parts from transformers."""
    transformers = pytest.importorskip("transformers")
    own = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    file = derive(folder, "gguf", cache=cache)
    library = llama_cpp.Llama(model_path=str(file.path), vocab_only=True, verbose=False)
    count, wrong = 0, []
    tokens = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    for text in [*BATTERY, *AROUND, *_mixed(list(tokens), 300)]:
        expected = own(text)["input_ids"]
        found = library.tokenize(text.encode("utf-8"), add_bos=True, special=True)
        count += len(expected)
        if found != expected:
            wrong.append((text[:40], found[:12], expected[:12]))
    return count, wrong


@pytest.mark.parametrize("prefix", ["normalizer", "none", "never"])
def test_the_ids_are_those_of_transformers(prefix: str, tmp_path: Path) -> None:
    count, wrong = _differing(sentence_piece_folder(tmp_path / "m", prefix=prefix), tmp_path / "c")
    assert wrong == []
    assert count > 5000


def test_runs_of_line_ends_and_spaces_as_added_tokens(tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m", prefix="none", change=gemma_runs)
    _, wrong = _differing(folder, tmp_path / "c")
    assert wrong == []


def test_white_space_behind_the_tokens_of_phi_3(tmp_path: Path) -> None:
    folder = sentence_piece_folder(tmp_path / "m", change=phi_3_flags, name="x/Phi-3-mini")
    _, wrong = _differing(folder, tmp_path / "c")
    assert wrong == []


@pytest.mark.parametrize("path", VOCABULARIES, ids=lambda path: path.stem)
def test_a_published_vocabulary_there_and_back(path: Path, tmp_path: Path) -> None:
    """llama.cpp's own file of it, as a tokenizer.json with ranks of merges, as scores again."""
    with open_artifact(path) as opened:
        own = opened.tokenizer
    name = "Phi-3" if path.stem.endswith("phi-3") else "llama"
    eaters = stripped_by_name(name, own.tokens, own.token_types)
    built = dataclasses.replace(own, stripped_behind=eaters).build()
    begin = [(own.bos_token, own.bos_id)] if own.add_bos else []
    single = " ".join([*(token for token, _ in begin), "$A"])
    built.post_processor = processors.TemplateProcessing(single=single, special_tokens=begin)
    settings = {"bos_token": own.bos_token, "eos_token": own.eos_token, "unk_token": own.tokens[own.unknown_id]}
    config = {
        **LLAMA_CONFIG, "vocab_size": len(own.tokens), "bos_token_id": own.bos_id, "eos_token_id": own.eos_id,
        "hidden_size": 12, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 2, "_name_or_path": name,
    }  # fmt: skip
    folder = _write_folder(tmp_path / "m", config, built, settings, {"eos_token_id": own.eos_id}, 1, "BF16")
    count, wrong = _differing(folder, tmp_path / "c")
    assert wrong == []
    assert count > 5000
