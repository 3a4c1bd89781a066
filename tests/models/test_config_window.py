"""Windows of attention are the artifact's own declaration, absent keys included, and reach transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers

from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.errors import ModelError

BASE = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "intermediate_size": 160,
    "vocab_size": 300,
}
ON = {"use_sliding_window": True}


def declared(folder: Path, architecture: str, fields: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps(BASE | {"model_type": architecture} | fields))
    return config_from_hf(folder)


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("mistral", {}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 8}),
        ("qwen2", {"sliding_window": 8}),
        ("qwen2", ON | {"sliding_window": 8, "max_window_layers": 1}),
        ("qwen2", ON | {"sliding_window": 8, "max_window_layers": 0}),
        ("qwen2", ON | {"sliding_window": None}),
        ("qwen3", ON | {"max_window_layers": 2}),
        ("qwen3", {"use_sliding_window": False, "sliding_window": 8, "max_window_layers": 1}),
        ("llama", {"sliding_window": 8}),
    ],
)
def test_window_is_the_one_that_transformers_reads(tmp_path: Path, architecture: str, fields: dict[str, Any]) -> None:
    ours = transformers.AutoConfig.for_model(architecture, **declared(tmp_path, architecture, fields).to_transformers())
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    if architecture == "llama":  # has no windows: the key means nothing
        assert not hasattr(ours, "sliding_window")
        return
    assert ours.sliding_window == theirs.sliding_window
    if architecture != "mistral":
        assert ours.layer_types == theirs.layer_types


@pytest.mark.parametrize("window", [0, -1, 1.5, "8", True])
@pytest.mark.parametrize(("architecture", "fields"), [("mistral", {}), ("qwen2", ON)])
def test_window_that_is_no_count_is_refused(
    tmp_path: Path, architecture: str, fields: dict[str, Any], window: Any
) -> None:
    with pytest.raises(ModelError, match="sliding_window: is not a positive whole number"):
        declared(tmp_path, architecture, fields | {"sliding_window": window})


@pytest.mark.parametrize("architecture", ["mixtral", "phi3", "starcoder2", "gemma2", "mistral"])
def test_an_absent_window_is_the_default_of_transformers(tmp_path: Path, architecture: str) -> None:
    ours = declared(tmp_path, architecture, {"pad_token_id": 0})
    assert ours.sliding_window == transformers.AutoConfig.from_pretrained(tmp_path).sliding_window


@pytest.mark.parametrize("architecture", ["mixtral", "smollm3", "gemma3_text", "olmo2", "phi3", "nemotron", "granite"])
def test_absent_epsilon_and_base_are_the_defaults_of_transformers(tmp_path: Path, architecture: str) -> None:
    ours = declared(tmp_path, architecture, {"pad_token_id": 0})
    theirs = transformers.AutoConfig.from_pretrained(tmp_path)
    parameters = theirs.rope_parameters
    assert ours.rope_theta == parameters.get("full_attention", parameters)["rope_theta"]
    assert ours.rms_norm_eps == getattr(theirs, "rms_norm_eps", getattr(theirs, "norm_eps", None))
