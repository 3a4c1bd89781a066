"""The released program runs the GGUF files that we write: tokenizer, rows of q and k, and values are understood.

Values are compared as `Reference.gaps` does: exact for floats, up to near ties where activations are rounded to 8 bits.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from tests.real_apr.real_models import make_model
from tests.real_apr.real_program import Apr
from tests.real_apr.reference import Reference

FLOATS = ("f32", "f16", "bf16")
QUANTISED = ("q8_0", "q4_0", "q4_k", "q6_k")
COMMON = ("What is 2+2?", "The quick brown fox", "def fibonacci(n):\n    return")
HARD = (" leading space and\ttabs", "Hello,  how's the café? 12345\n\n你好")
NEAR_TIE = 0.2  # in standard deviations of the logits; the largest that was measured is 0.11


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, dtype) -> our GGUF file, and the reference with the values that it stores."""
    root = tmp_path_factory.mktemp("real-gguf")

    class Workplace:
        @cache  # noqa: B019
        def folder(self, model: str) -> Path:
            return make_model(model, root)

        @cache  # noqa: B019
        def plain(self, model: str) -> Reference:
            return Reference(self.folder(model))

        def open(self, model: str, dtype: str) -> tuple[Path, Reference]:
            artifact, reference = derive(self.folder(model), "gguf", cache=root / "c", dtype=dtype), self.plain(model)
            with open_artifact(artifact, "gguf") as file:
                state = {name: torch.from_numpy(file.tensors.read(name)) for name in file.tensors.names()}
            reference.model.load_state_dict(state, strict=False)
            return artifact.path, reference

    return Workplace()


def misses(apr: Apr, path: Path, reference: Reference, prompt: str) -> list[float]:
    """Gaps of the ids that the program generates after as many prompt ids as the tokenizer gives."""
    ids = reference.tokenizer(prompt)["input_ids"]
    told = apr("run", path, f"--prompt={prompt}", "--max-tokens", "12", "--no-gpu", "--json").json()
    assert told["prompt_tokens"] == len(ids), prompt
    return reference.gaps(ids, told["tokens"])


@pytest.mark.parametrize("dtype", FLOATS + QUANTISED)
@pytest.mark.parametrize("model", ["tiny-qwen2", "wide-llama"])
def test_ids_are_those_of_transformers(apr: Apr, workplace: Any, model: str, dtype: str) -> None:
    path, reference = workplace.open(model, dtype)
    gaps = [gap for prompt in COMMON for gap in misses(apr, path, reference, prompt)]
    assert len(gaps) > 20
    assert max(gaps) <= (0 if dtype in FLOATS else NEAR_TIE)


@pytest.mark.parametrize("prompt", HARD)
def test_the_pre_tokenizer_of_qwen2_is_obeyed(apr: Apr, workplace: Any, prompt: str) -> None:
    path, reference = workplace.open("tiny-qwen2", "f32")
    assert max(misses(apr, path, reference, prompt)) == 0


@pytest.mark.parametrize("prompt", HARD)
def test_the_pre_tokenizer_of_gpt_2_is_not(apr: Apr, workplace: Any, prompt: str) -> None:
    """The file says `gpt-2`; prompts with a leading space, or with digits and line breaks, get other ids."""
    path, reference = workplace.open("wide-llama", "f32")
    ids = reference.tokenizer(prompt)["input_ids"]
    told = apr("run", path, f"--prompt={prompt}", "--max-tokens", "12", "--no-gpu", "--json").json()
    assert told["prompt_tokens"] != len(ids) or max(reference.gaps(ids, told["tokens"])) > 1


@pytest.mark.parametrize("model", ["tiny-qwen2", "wide-llama"])
def test_it_inspects_what_we_write(apr: Apr, workplace: Any, model: str) -> None:
    path, _ = workplace.open(model, "q4_k")
    assert apr("validate", path).status == 0
    listed = apr("tensors", path, "--json").json()["tensors"]
    with open_artifact(derive(workplace.folder(model), "gguf", cache=path.parents[1], dtype="q4_k"), "gguf") as file:
        assert {row["name"] for row in listed} == set(file.file.entries)
