"""A Mistral without a window stays one: null in config.json, not the family's default window."""

from __future__ import annotations

import json

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.to_safetensors import write_safetensors_from
from pytest_aprqa.models.artifact import open_artifact
from tests.model_fixtures import write_random_llama


def test_no_window_survives_the_way_back_from_apr(tmp_path):
    changes = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    source = write_random_llama(tmp_path / "source", changes=changes)
    with open_artifact(derive(source, "apr", cache=tmp_path / "cache").path) as artifact:
        back = write_safetensors_from(artifact, tmp_path / "back")
    assert json.loads((back / "config.json").read_text())["sliding_window"] is None
    with open_artifact(back) as artifact:
        assert artifact.config.architecture == "mistral"
        assert artifact.config.sliding_window is None
