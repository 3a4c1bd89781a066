"""The torch engine against transformers' own `generate`; its limits and its strictness; tiny models in this process."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file

from pytest_aprqa.engines.errors import EngineError, EngineLoadError
from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
from pytest_aprqa.engines.torch_engine import BATCH_TOKENS, TorchEngine, _batches
from pytest_aprqa.formats.permutation import permute_rows
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from tests.model_fixtures import PROMPTS, write_plain_safetensors, write_random_llama, write_random_qwen2

NEW = 12
FAMILIES = {"qwen2": write_random_qwen2, "llama": write_random_llama}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """F32, so that transformers and we compute in the same type without a word about it."""
    return FAMILIES[request.param](tmp_path_factory.mktemp("engines") / request.param, dtype="F32")


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    """transformers' own model, loaded by transformers' own loader."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def engine(folder: Path) -> TorchEngine:
    return loaded(safetensors_of(folder))


@pytest.fixture(scope="module")
def expected(folder: Path, reference: Any, engine: TorchEngine) -> list[list[int]]:
    return [generated_by(reference, engine, prompt) for prompt in PROMPTS]


def safetensors_of(folder: Path) -> Artifact:
    return describe_artifact(folder / "model.safetensors", "safetensors")


def loaded(artifact: Artifact) -> TorchEngine:
    engine = TorchEngine()
    engine.load(artifact, nothing)
    return engine


def nothing(*event: object) -> None:
    """Progress that nobody looks at."""


def requests(*prompts: str, **options: Any) -> list[GenerationRequest]:
    options = {"max_new_tokens": NEW} | options
    return [GenerationRequest(f"p{number}", prompt, **options) for number, prompt in enumerate(prompts)]


def new_ids(results: Sequence[GenerationResult]) -> list[list[int]]:
    assert [result.error for result in results] == [None] * len(results)
    return [list(result.new_ids or []) for result in results]


def generated_by(reference: Any, engine: TorchEngine, prompt: str) -> list[int]:
    tokenizer = engine._loaded()
    ids = tokenizer.encode(prompt)
    output = reference.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=NEW,
        do_sample=False,
        eos_token_id=sorted(tokenizer.end_ids),
        pad_token_id=0,
    )
    return [int(i) for i in output[0, len(ids) :]]


def changed(folder: Path, target: Path, change: Any) -> Artifact:
    """A copy of the folder with its tensors changed."""
    shutil.copytree(folder, target)
    tensors = load_file(target / "model.safetensors")
    change(tensors)
    write_plain_safetensors(target / "model.safetensors", tensors, "F32")
    return safetensors_of(target)


# -- the same as transformers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_name", ["safetensors", "apr", "gguf"])
def test_ids_equal_those_of_transformers_in_every_format(
    folder: Path, expected: list[list[int]], tmp_path: Path, format_name: str
) -> None:
    artifact = safetensors_of(folder) if format_name == "safetensors" else derive(folder, format_name, cache=tmp_path)
    engine = loaded(artifact)
    assert new_ids(engine.generate(requests(*PROMPTS), nothing)) == expected
    assert any(len(set(ids)) > 3 for ids in expected)  # a model that says one thing for ever would prove little


def test_every_prompt_alone_equals_the_batch(engine: TorchEngine, expected: list[list[int]]) -> None:
    assert [new_ids(engine.generate([request], nothing))[0] for request in requests(*PROMPTS)] == expected


def test_logits_equal_those_of_transformers(engine: TorchEngine, reference: Any) -> None:
    ids = engine._loaded().encode(PROMPTS[1])
    with torch.inference_mode():
        theirs = reference(torch.tensor([ids])).logits[0].numpy()
    ours = engine.logits(ids)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=1e-4)


def test_bf16_weights_of_a_small_model_are_computed_in_float32(random_qwen2_folder: Path) -> None:
    engine = loaded(safetensors_of(random_qwen2_folder))
    description = engine.describe()
    assert description.dtype == "float32"
    assert set(description.details["stored_types"]) == {"BF16"}
    assert description.version == torch.__version__
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        random_qwen2_folder, attn_implementation="eager", dtype=torch.float32
    ).eval()
    assert new_ids(engine.generate(requests(PROMPTS[0]), nothing)) == [generated_by(theirs, engine, PROMPTS[0])]


def test_random_llama_of_bf16_answers_the_same_from_gguf_and_apr(random_llama_folder: Path, tmp_path: Path) -> None:
    answers = [
        new_ids(loaded(artifact).generate(requests(*PROMPTS), nothing))
        for artifact in (
            safetensors_of(random_llama_folder),
            derive(random_llama_folder, "apr", cache=tmp_path),
            derive(random_llama_folder, "gguf", cache=tmp_path),
        )
    ]
    assert answers[0] == answers[1] == answers[2]


def test_chat_goes_through_the_template_once(engine: TorchEngine, folder: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello?"}], tokenize=False, add_generation_prompt=True
    )
    (result,) = engine.generate(requests("Hello?", mode="chat"), nothing)
    assert result.prompt_ids == engine._loaded().encode(text, add_special=False)
    assert sum(i == engine._loaded().bos_id for i in result.prompt_ids or []) <= 1


# -- rotary style ----------------------------------------------------------------------------------------------------


def with_rope_type(source: Path, target: Path, rope_type: int, permute: bool, config: dict[str, Any]) -> Artifact:
    """The APR file written again with another rope_type, its q and k rows permuted for adjacent pairs if asked."""
    from pytest_aprqa.formats.apr_file import AprFile
    from pytest_aprqa.formats.apr_writer import write_apr

    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    with AprFile(source) as file:
        metadata = dict(file.metadata) | {"rope_type": rope_type}
        tensors = []
        for name, entry in file.entries.items():
            values = file.read(name)
            if permute and (".q_proj." in name or ".k_proj." in name):
                values = permute_rows(values, heads if ".q_proj." in name else kv_heads)
            data = np.ascontiguousarray(values, dtype=np.float32).tobytes()
            tensors.append((name, "F32", entry.shape, data))
    write_apr(target, metadata, tensors)
    return describe_artifact(target, "apr")


def test_declared_rotary_style_is_the_one_that_runs(folder: Path, expected: list[list[int]], tmp_path: Path) -> None:
    source = derive(folder, "apr", cache=tmp_path / "cache").path
    config = json.loads((folder / "config.json").read_text())
    half = with_rope_type(source, tmp_path / "half.apr", 2, False, config)
    wrong = with_rope_type(source, tmp_path / "wrong.apr", 0, False, config)
    right = with_rope_type(source, tmp_path / "right.apr", 0, True, config)
    assert new_ids(loaded(half).generate(requests(*PROMPTS), nothing)) == expected
    assert new_ids(loaded(wrong).generate(requests(*PROMPTS), nothing)) != expected
    engine = loaded(right)
    assert engine.describe().details["rope_style"] == "interleaved"
    assert new_ids(engine.generate(requests(*PROMPTS), nothing)) == expected


# -- strictness ------------------------------------------------------------------------------------------------------

Q_WEIGHT = "model.layers.0.self_attn.q_proj.weight"


def _remove(tensors: dict[str, Any]) -> None:
    del tensors[Q_WEIGHT]


def _add(tensors: dict[str, Any]) -> None:
    tensors["model.layers.0.self_attn.q_proj.scale"] = np.ones(3, np.float32)


def _cut(tensors: dict[str, Any]) -> None:
    tensors[Q_WEIGHT] = tensors[Q_WEIGHT][:-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_remove, f"1 tensors are missing: {Q_WEIGHT}"),
        (_add, "1 tensors have no place in the model: model.layers.0.self_attn.q_proj.scale"),
        (_cut, f"tensor {Q_WEIGHT}: shape "),
    ],
)
def test_wrong_tensors_are_a_load_error_that_names_them(
    folder: Path, tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(EngineLoadError) as caught:
        loaded(changed(folder, tmp_path / "bad", change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_head_of_a_tied_model_may_be_stored_but_is_not_used(tmp_path: Path) -> None:
    folder = write_random_qwen2(tmp_path / "tied", dtype="F32")

    def store_head(tensors: dict[str, Any]) -> None:
        tensors["lm_head.weight"] = np.zeros_like(tensors["model.embed_tokens.weight"])

    plain, stored = loaded(safetensors_of(folder)), loaded(changed(folder, tmp_path / "stored", store_head))
    assert np.array_equal(plain.logits([1, 2]), stored.logits([1, 2]))


def test_unknown_architecture_is_a_load_error(tmp_path: Path) -> None:
    folder = write_random_qwen2(tmp_path / "other", changes={"model_type": "mamba"})
    with pytest.raises((EngineLoadError, ValueError), match="mamba"):
        loaded(safetensors_of(folder))


def test_nan_in_the_weights_is_an_engine_error(folder: Path, tmp_path: Path) -> None:
    def poison(tensors: dict[str, Any]) -> None:
        tensors["model.norm.weight"][3] = np.nan

    engine = loaded(changed(folder, tmp_path / "nan", poison))
    with pytest.raises(EngineError, match="NaN or infinite"):
        engine.generate(requests("a"), nothing)


def test_nothing_runs_before_a_load_or_after_close(folder: Path) -> None:
    engine = TorchEngine()
    for ask in (engine.describe, lambda: engine.generate(requests("a"), nothing), lambda: engine.logits([1])):
        with pytest.raises(EngineError, match="no model is loaded"):
            ask()
    engine.load(safetensors_of(folder), nothing)
    engine.close()
    with pytest.raises(EngineError, match="no model is loaded"):
        engine.generate(requests("a"), nothing)


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    """A context of 16 tokens."""
    folder = tmp_path_factory.mktemp("short") / "model"
    return loaded(safetensors_of(write_random_qwen2(folder, dtype="F32", changes={"max_position_embeddings": 16})))


@pytest.mark.parametrize("length", [14, 15])
def test_prompt_just_below_the_context_gets_the_tokens_that_are_left(short: TorchEngine, length: int) -> None:
    (result,) = short.generate(requests("7" * length), nothing)
    assert len(result.prompt_ids or []) == length
    assert result.error is None
    assert 1 <= len(result.new_ids or []) <= 16 - length
    if len(result.new_ids or []) == 16 - length:
        assert result.finish_reason in ("length", "stop")


def test_prompt_that_fills_the_context_is_refused_and_the_others_are_answered(short: TorchEngine) -> None:
    refused, answered = short.generate(requests("7" * 16, "7"), nothing)
    assert refused.error == "the prompt has 16 tokens, the context holds 16"
    assert refused.new_ids is None
    assert answered.error is None


def test_logits_take_a_whole_context_and_no_token_more(short: TorchEngine) -> None:
    assert short.logits([1] * 16).shape[0] == 16
    for ids in ([1] * 17, []):
        with pytest.raises(EngineError, match=rf"{len(ids)} ids, limit 1 to 16"):
            short.logits(ids)


def test_empty_prompt_needs_a_token_to_begin_with(random_qwen2_folder: Path, random_llama_folder: Path) -> None:
    (without,) = loaded(safetensors_of(random_qwen2_folder)).generate(requests(""), nothing)
    assert without.error is not None
    assert "the prompt is empty" in without.error
    llama = loaded(safetensors_of(random_llama_folder))
    (with_bos,) = llama.generate(requests(""), nothing)
    assert with_bos.prompt_ids == [llama._loaded().bos_id]


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_no_more_new_tokens_than_asked_for(engine: TorchEngine, expected: list[list[int]], limit: int) -> None:
    results = engine.generate(requests(*PROMPTS, max_new_tokens=limit), nothing)
    assert new_ids(results) == [ids[:limit] for ids in expected]


def test_no_new_token_is_refused(engine: TorchEngine) -> None:
    (result,) = engine.generate(requests("a", max_new_tokens=0), nothing)
    assert result.error == "max_new_tokens: found 0, limit at least 1"


def test_mixed_limits_of_one_batch_are_each_kept(engine: TorchEngine, expected: list[list[int]]) -> None:
    batch = [GenerationRequest(str(n), p, max_new_tokens=n + 1) for n, p in enumerate(PROMPTS)]
    assert new_ids(engine.generate(batch, nothing)) == [ids[: n + 1] for n, ids in enumerate(expected)]


def test_prompt_id_without_an_embedding_row_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "rows"
    shutil.copytree(folder, copy)
    document = json.loads((copy / "tokenizer.json").read_text())
    beyond = json.loads((copy / "config.json").read_text())["vocab_size"]
    token = {"id": beyond, "content": "<|beyond|>", "special": True}
    token |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    document["added_tokens"].append(token)
    (copy / "tokenizer.json").write_text(json.dumps(document))
    (result,) = loaded(safetensors_of(copy)).generate(requests("a<|beyond|>"), nothing)
    assert result.error == f"token id {beyond} of the prompt is outside the vocabulary of {beyond} rows"


def test_batches_keep_order_and_bound_the_cache() -> None:
    def ready(*lengths: int) -> list[Any]:
        return [
            (n, GenerationRequest(str(n), "", max_new_tokens=1), [0] * (length - 1)) for n, length in enumerate(lengths)
        ]

    third = BATCH_TOKENS // 4
    assert [len(batch) for batch in _batches(ready(*[third] * 4))] == [4]
    assert [len(batch) for batch in _batches(ready(*[third + 1] * 4))] == [3, 1]
    assert [len(batch) for batch in _batches(ready(2 * BATCH_TOKENS, 1, 1))] == [1, 2]
    assert _batches([]) == []
    split = _batches(ready(5, third * 2, third * 2, 7, third * 4, 1))
    assert [item[0] for batch in split for item in batch] == list(range(6))


# -- ends and text ---------------------------------------------------------------------------------------------------


def test_end_token_ends_the_row_and_is_no_text_even_if_it_is_ordinary(
    folder: Path, expected: list[list[int]], tmp_path: Path
) -> None:
    copy = tmp_path / "ends"
    shutil.copytree(folder, copy)
    row = max(range(len(expected)), key=lambda n: len(expected[n]))
    ids = expected[row]
    place = next(n for n in range(2, len(ids)) if ids[n] not in ids[:n])
    for name in ("generation_config.json", "config.json"):
        document = json.loads((copy / name).read_text()) | {"eos_token_id": ids[place]}
        (copy / name).write_text(json.dumps(document))
    engine = loaded(safetensors_of(copy))
    pieces: list[str] = []
    (result,) = engine.generate(requests(PROMPTS[row]), nothing, lambda text, _: pieces.append(text))
    assert result.finish_reason == "stop"
    assert result.new_ids == ids[: place + 1]
    assert result.text == engine._loaded().decode(ids[:place]) == "".join(pieces)


def test_pieces_make_the_whole_text_and_no_half_character_is_shown(engine: TorchEngine) -> None:
    for temperature in (0.0, 1.5):
        for seed, prompt in enumerate(PROMPTS[1:3]):
            pieces: list[tuple[str, list[int]]] = []
            (result,) = engine.generate(
                requests(prompt, max_new_tokens=40, temperature=temperature, seed=seed),
                nothing,
                lambda text, ids, to=pieces: to.append((text, list(ids))),
            )
            assert "".join(text for text, _ in pieces) == result.text
            assert [i for _, ids in pieces for i in ids] == result.new_ids


def test_progress_counts_tokens_and_prompts(engine: TorchEngine) -> None:
    events: list[tuple[Any, ...]] = []
    engine.generate(requests(*PROMPTS), lambda *event: events.append(event))
    assert ("prompts", len(PROMPTS), len(PROMPTS)) in events
    assert ("tokens", 1, NEW) in events


# -- sampling --------------------------------------------------------------------------------------------------------


def test_same_seed_gives_the_same_ids_and_batching_does_not_matter(engine: TorchEngine) -> None:
    batch = requests(*PROMPTS, temperature=1.0, seed=7)
    first = new_ids(engine.generate(batch, nothing))
    assert new_ids(engine.generate(batch, nothing)) == first
    assert new_ids(engine.generate(batch[:1], nothing)) == first[:1]
    assert new_ids(engine.generate(requests(*PROMPTS, temperature=1.0, seed=8), nothing)) != first


def test_very_cold_sampling_is_greedy(engine: TorchEngine, expected: list[list[int]]) -> None:
    assert new_ids(engine.generate(requests(*PROMPTS, temperature=1e-6), nothing)) == expected


def test_samples_follow_the_distribution_of_the_model(engine: TorchEngine) -> None:
    temperature, draws, prompt = 8.0, 2000, PROMPTS[0]
    logits = engine.logits(engine._loaded().encode(prompt))[-1].astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    probability = weights / weights.sum()
    asked = [
        GenerationRequest(str(seed), prompt, max_new_tokens=1, temperature=temperature, seed=seed)
        for seed in range(draws)
    ]
    counts = Counter(ids[0] for ids in new_ids(engine.generate(asked, nothing)))
    frequent = [i for i in np.argsort(-probability) if probability[i] * draws >= 10]
    assert len(frequent) >= 3
    seen = np.array([counts[int(i)] for i in frequent] + [draws - sum(counts[int(i)] for i in frequent)], float)
    mean = np.array([probability[i] * draws for i in frequent] + [draws * (1 - probability[frequent].sum())])
    mean[-1] = max(mean[-1], 1e-9)
    keep = mean >= 5
    chi_square = float((((seen - mean) ** 2) / mean)[keep].sum())
    degrees = int(keep.sum()) - 1
    # Fixed seeds: this either holds for ever or never; five standard deviations of chi-square.
    assert chi_square < degrees + 5 * (2 * degrees) ** 0.5
