"""A derived file with a SentencePiece tokenizer in real llama.cpp: its ids are those of transformers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.token_battery import BATTERY
from tests.lifecycle.sentence_piece_folders import sentence_piece_folder
from tests.model_fixtures import LLAMA_CONFIG, _write_folder
from tests.models.vocabulary_vectors import STORED

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install .[llama]")
pytestmark = pytest.mark.llama
AROUND = ["a<tool_call>b", "a <tool_call> b", "</s> x</s>y", " <s>  <tool_call>\n", "<unk>a <unk> b"]


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


def test_the_vocabulary_of_llama_2_there_and_back(tmp_path: Path) -> None:
    """llama.cpp's own file of it, as a tokenizer.json with ranks of merges, as scores again."""
    with open_artifact(STORED / "ggml-vocab-llama-spm.gguf") as opened:
        built = opened.tokenizer.build()
    from tokenizers import processors

    built.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {
        **LLAMA_CONFIG, "vocab_size": 32000, "bos_token_id": 1, "eos_token_id": 2, "hidden_size": 12,
        "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 2,
    }  # fmt: skip
    folder = _write_folder(tmp_path / "m", config, built, settings, {"eos_token_id": 2}, 1, "BF16")
    count, wrong = _differing(folder, tmp_path / "c")
    assert wrong == []
    assert count > 5000
