"""The torch engine computes what each family's declaration says: heads, rotation, windows, as transformers does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.models.artifact import describe_artifact
from tests.model_fixtures import PROMPTS, write_random_llama

NEW = 8
LONG = "The quick brown fox jumps over the lazy dog. " * 12
PIECE = 50  # so that the long prompt is taken in pieces
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_llama(tmp_path_factory.mktemp("declarations") / "llama", dtype="F32")


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("qwen3", {"head_dim": 24}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 8}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"head_dim": 8, "tie_word_embeddings": True}),
    ],
)
def test_ids_equal_those_of_transformers(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str, fields: dict[str, Any]
) -> None:
    monkeypatch.setattr("pytest_aprqa.engines.torch_engine.PREFILL_TOKENS", PIECE)
    folder = tmp_path / "model"
    shutil.copytree(tokenizer_folder, folder)
    vocabulary = transformers.AutoConfig.from_pretrained(folder).vocab_size
    config = transformers.AutoConfig.for_model(
        architecture, vocab_size=vocabulary, hidden_size=96, intermediate_size=160, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=3, max_position_embeddings=1024, initializer_range=0.3, **fields,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generation = (folder / "generation_config.json").read_bytes()
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_bytes(generation)

    engine = TorchEngine()
    engine.load(describe_artifact(folder / "model.safetensors", "safetensors"), lambda *event: None)
    prompts = [*PROMPTS, LONG]
    requests = [GenerationRequest(prompt, prompt, max_new_tokens=NEW) for prompt in prompts]
    results = engine.generate(requests, lambda *event: None)
    for prompt, result in zip(prompts, results, strict=True):
        ids = engine._loaded().encode(prompt)
        expected = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=sorted(engine._loaded().end_ids),
            pad_token_id=0,
        )[0, len(ids) :].tolist()
        assert result.new_ids == expected, prompt[:20]
