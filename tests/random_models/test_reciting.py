"""The reciting model: its text, token by token, from any prompt; bad texts are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.random_models.reciting import LEAD, reciting_model


@pytest.fixture
def like(random_qwen2_folder):
    return random_qwen2_folder


def test_each_token_has_one_successor(like, tmp_path):
    text = [7, 3, 11, 2]
    folder = reciting_model(like, tmp_path / "model", text)
    with open_tensor_file(folder / "model.safetensors") as file:
        embedding, head = (file.read(name) for name in ("model.embed_tokens.weight", "lm_head.weight"))
        silent = [name for name in file.entries if name.endswith(("o_proj.weight", "down_proj.weight"))]
        assert silent
        assert not any(file.read(name).any() for name in silent)
    logits = embedding @ head.T
    assert [int(logits[token].argmax()) for token in (0, 50, 7, 3, 11)] == [7, 7, 3, 11, 2]
    best = np.sort(logits[[0, 7, 3, 11]], axis=1)
    assert (best[:, -1] == LEAD).all()
    assert not best[:, :-1].any()
    assert json.loads((folder / "config.json").read_text())["tie_word_embeddings"] is False


@pytest.mark.parametrize("tokens", [[], [1, 2, 1], list(range(64))])
def test_a_text_that_cannot_be_recited_is_refused(like, tmp_path, tokens):
    with pytest.raises(ValueError, match="limit 1 to 63 different ones"):
        reciting_model(like, tmp_path / "model", tokens)


def test_the_longest_text(like, tmp_path):
    assert reciting_model(like, tmp_path / "model", list(range(63))).is_dir()
