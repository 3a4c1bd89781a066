"""The released program reads, validates and runs the APR files that we write: the greedy ids are those of transformers.

Where it cannot, the test says what it does instead; the reference page on real files repeats it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.lifecycle.derive import derive
from tests.real_apr.real_models import MODELS, TINY_QWEN2, make_model
from tests.real_apr.real_program import Apr
from tests.real_apr.reference import Reference

DTYPES = ("f32", "f16", "bf16", "q8", "q4", "q4_k", "q6_k")
WIDE_MODELS = ("tiny-qwen2", "wide-llama")  # the other two have no row of 256: nothing there can be a K-quant
CASES = [(model, dtype) for model in MODELS for dtype in DTYPES if model in WIDE_MODELS or not dtype.endswith("_k")]
SAME_IDS = ("What is 2+2?", "The quick brown fox", " leading space and\ttabs")
OTHER_IDS = ("def fibonacci(n):\n    return", "Hello,  how's the café? 12345\n\n你好")
NAMES = {"F32": "f32", "F16": "f16", "BF16": "bf16", "APR_Q8": "q8", "APR_Q4": "q4", "Q4_K": "q4_k", "Q6_K": "q6_k"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, dtype) -> our APR file; model -> its folder and reference. Each is made once."""
    root = tmp_path_factory.mktemp("real-apr")

    class Workplace:
        @cache  # noqa: B019
        def folder(self, model: str) -> Path:
            return make_model(model, root)

        @cache  # noqa: B019
        def artifact(self, model: str, dtype: str) -> Path:
            return derive(self.folder(model), "apr", cache=root / "cache", dtype=dtype).path

        @cache  # noqa: B019
        def reference(self, model: str) -> Reference:
            return Reference(self.folder(model))

    return Workplace()


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_it_validates_and_inspects_what_we_write(apr: Apr, workplace: Any, model: str, dtype: str) -> None:
    path = workplace.artifact(model, dtype)
    told = apr("validate", path, "--json").json()
    assert (told["verdict"], told["total_score"], told["checks_ran"]) == ("VALID", 100, 5)
    inspected = apr("inspect", path, "--json").json()
    with AprFile(path) as file:
        assert (inspected["valid"], inspected["checksum_valid"], inspected["version"]) == (True, True, "2.0")
        assert inspected["tensor_count"] == len(file.entries)
        assert inspected["flags"]["has_vocab"] is True
        assert inspected["flags"]["quantized"] == (dtype not in ("f32", "f16", "bf16"))
        for key in ("num_layers", "num_heads", "hidden_size", "vocab_size", "architecture"):
            assert inspected[key] == file.metadata[key], key


@pytest.mark.parametrize(("model", "dtype"), CASES)
def test_it_lists_the_tensors_as_we_do(apr: Apr, workplace: Any, model: str, dtype: str) -> None:
    path = workplace.artifact(model, dtype)
    listed = apr("tensors", path, "--stats", "--json").json()["tensors"]
    with AprFile(path) as file:
        ours = {name: (NAMES[e.dtype], list(e.shape), e.nbytes) for name, e in file.entries.items()}
        assert {row["name"]: (row["dtype"], row["shape"], row["size_bytes"]) for row in listed} == ours
        for row in listed:
            values = file.read(row["name"])
            assert row["mean"] == pytest.approx(float(values.mean()), abs=1e-5), row["name"]
            assert row["min"] == pytest.approx(float(values.min()), rel=1e-6), row["name"]
            assert row["max"] == pytest.approx(float(values.max()), rel=1e-6), row["name"]


@pytest.mark.parametrize(("model", "dtype"), [case for case in CASES if case[1] != "q4_k"])
def test_greedy_ids_and_text_equal_those_of_transformers(apr: Apr, workplace: Any, model: str, dtype: str) -> None:
    path = workplace.artifact(model, dtype)
    reference = workplace.reference(model).load(path)
    with AprFile(path) as file:
        end = file.metadata["tokenizer.eos_token_id"]
    for prompt in SAME_IDS:
        ids = reference.prompt_ids(prompt)
        told = apr.generate(path, prompt)
        assert told["prompt_tokens"] == len(ids), prompt
        expected = reference.greedy(ids, stop=end)
        assert told["tokens"] == expected, prompt
        text = reference.tokenizer.decode(expected, skip_special_tokens=True)
        if "\ufffd" not in text:  # tokens of random weights are seldom whole characters
            assert told["text"] == text.strip(), prompt


@pytest.mark.parametrize("model", WIDE_MODELS)
def test_q4_k_ids_are_those_of_transformers_up_to_near_ties(apr: Apr, workplace: Any, model: str) -> None:
    """Q4_K is multiplied with activations rounded to 8 bits: an id may be one that is nearly as likely, no other.

    Measured on five prompts for each model: 5 of 160 ids differ, the largest gap is 0.11 standard deviations.
    """
    path = workplace.artifact(model, "q4_k")
    reference = workplace.reference(model).load(path)
    gaps = []
    for prompt in SAME_IDS:
        ids = reference.prompt_ids(prompt)
        told = apr.generate(path, prompt)
        assert told["prompt_tokens"] == len(ids), prompt
        gaps += reference.gaps(ids, told["tokens"])
    assert len(gaps) > 30
    assert max(gaps) < 0.2
    assert sum(gap > 0 for gap in gaps) <= len(gaps) // 10


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("prompt", OTHER_IDS)
def test_it_has_no_pre_tokenizer(apr: Apr, workplace: Any, model: str, prompt: str) -> None:
    """Merges run over the whole text: line breaks with indentation, double spaces and digits get other ids."""
    count = len(workplace.reference(model).prompt_ids(prompt))
    path = workplace.artifact(model, "f32")
    told = apr("run", path, f"--prompt={prompt}", "--max-tokens", "1", "--no-gpu", "--json").json()
    assert told["prompt_tokens"] > 0
    assert told["prompt_tokens"] != count


def test_it_adds_no_token_of_its_own_at_the_beginning(apr: Apr, workplace: Any) -> None:
    """The Llama tokenizer begins each prompt with a token, and our file declares so; the program leaves it out."""
    reference, path = workplace.reference("random-llama"), workplace.artifact("random-llama", "f32")
    with AprFile(path) as file:
        assert file.metadata["tokenizer.add_bos_token"] is True
    with_bos = reference.tokenizer("What is 2+2?")["input_ids"]
    assert with_bos[0] == reference.tokenizer.bos_token_id
    assert apr.generate(path, "What is 2+2?", tokens=1)["prompt_tokens"] == len(with_bos) - 1


def test_it_wraps_a_prompt_when_the_file_has_a_chat_template(apr: Apr, tmp_path: Path) -> None:
    """`run` has no way to ask for plain completion then; the answer is that of the prompt in the template."""
    path = derive(TINY_QWEN2, "apr", cache=tmp_path, dtype="f32").path
    reference = Reference(TINY_QWEN2)
    prompt = "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n"
    ids = reference.prompt_ids(prompt)
    told = apr.generate(path, "What is 2+2?")
    assert (told["prompt_tokens"], told["text"]) == (len(ids), "4")
    assert told["tokens"] == reference.greedy(ids, stop=reference.tokenizer.eos_token_id)


def test_a_k_quant_of_padded_rows_is_not_ours_to_write(apr: Apr, workplace: Any) -> None:
    """Of narrow models nothing becomes a K-quant: the file keeps the source's types and runs."""
    path = workplace.artifact("random-llama", "q4_k")
    with AprFile(path) as file:
        assert {entry.dtype for entry in file.entries.values()} == {"F32", "BF16"}
    reference = workplace.reference("random-llama").load(path)
    ids = reference.prompt_ids("12 + 30")
    assert apr.generate(path, "12 + 30", tokens=8)["tokens"] == reference.greedy(ids, 8)
