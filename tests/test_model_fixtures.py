"""The made-up models must be what the rest of the tests believe they are: loadable by transformers, deterministic."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_random_model_loads_in_transformers_and_generates(family: str, request: pytest.FixtureRequest) -> None:
    transformers = pytest.importorskip("transformers")
    folder: Path = request.getfixturevalue(f"random_{family}_folder")
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("What is 2+2?", return_tensors="pt")
    output = model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert output.shape[1] > ids["input_ids"].shape[1]
    assert len(tokenizer) == model.config.vocab_size
    begins_with_bos = int(ids["input_ids"][0, 0]) == tokenizer.bos_token_id
    assert begins_with_bos == (family == "llama")
    assert "What is 2+2?" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is 2+2?"}], tokenize=False, add_generation_prompt=True
    )


def test_random_models_are_deterministic(tmp_path: Path, random_qwen2_folder: Path) -> None:
    from tests.model_fixtures import write_random_qwen2

    again = write_random_qwen2(tmp_path / "again")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (again / name).read_bytes() == (random_qwen2_folder / name).read_bytes()
