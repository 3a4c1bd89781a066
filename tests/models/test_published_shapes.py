"""Published shapes of all models of the registry pass the structure checks; one wrong shape of each family fails."""

from __future__ import annotations

import csv
import math
from contextlib import contextmanager

import pytest
import transformers

from pytest_aprqa.formats.names import gguf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.families import EMBEDDINGS, expected_tensors, integrity_problems, layout_problems
from pytest_aprqa.models.family_table import SIZES, Size
from pytest_aprqa.models.family_templates import KNOWN
from pytest_aprqa.playbooks.facts import read_models, read_playbook_facts
from pytest_aprqa.playbooks.size_categories import COUNT_TOLERANCE, billions_in_name, fits
from tests.models.published_shapes import (
    FACTS,
    published,
    write_apr_header_only,
    write_gguf_header_only,
    write_header_only,
)

MODELS = published()
SOUND = sorted(MODELS)
ONE_OF_EACH = sorted({MODELS[name]["model_type"]: name for name in SOUND}.values())
# llama.cpp has no code for them: no GGUF file can be made, and the names of their tensors have no GGUF name.
WITHOUT_GGUF = {"phi3small"}
FIELDS = (
    "hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "intermediate_size", "vocab_size",
    "tied_embeddings", "num_experts", "shared_experts", "dense_layers", "latent",
)  # fmt: skip
UNITS = {"B": 1e9, "M": 1e6}


def opened(folder, config, shapes):
    """Declaration and shapes, read back from a header-only file by our readers. Skips where holes are not possible."""
    try:
        path = write_header_only(folder, config, shapes)
    except OSError as error:
        pytest.skip(f"no file of {sum(math.prod(s) for s in shapes.values()) * 2} bytes with a hole: {error}")
    with open_tensor_file(path) as file:
        return config_from_hf(folder), {name: entry.shape for name, entry in file.entries.items()}


def declared(folder, config) -> ModelConfig:
    write_header_only(folder, config, {})
    return config_from_hf(folder)


def test_every_model_of_the_registry_has_published_shapes():
    assert list(MODELS) == list(read_models(FACTS / "models.csv"))
    assert len(MODELS) == 92
    assert {row.hf_repo for row in read_playbook_facts(FACTS / "playbooks.csv")} <= set(MODELS)


@pytest.mark.parametrize("name", SOUND)
def test_published_shapes_are_sound(tmp_path, name):
    shapes = expected_tensors(declared(tmp_path, MODELS[name]))
    config, read = opened(tmp_path, MODELS[name], shapes)
    assert read == shapes
    assert layout_problems(config, read) == []
    assert integrity_problems(config, read) == []
    rows, columns = next(read[embedding] for embedding in EMBEDDINGS if embedding in read)
    assert (rows, columns) == (MODELS[name]["vocab_size"], MODELS[name]["hidden_size"])


# Models that are called after a rounder number than theirs: the total that their publisher gives, in 1e9.
CALLED_OTHERWISE = {
    "meta-llama/Llama-3.2-1B-Instruct": 1.24,
    "google/gemma-2-2b-it": 2.61,
    "google/codegemma-7b-it": 8.54,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1.78,
    "ibm-granite/granite-3.1-2b-instruct": 2.53,
    "ibm-granite/granite-3b-code-instruct-128k": 3.48,
}
NAME_TOLERANCE = 0.15
COUNTED: dict[str, float] = {}


def billions(name, folder):
    """Values of the model, in 1e9, by the shapes of its template; counted once."""
    if name not in COUNTED:
        shapes = expected_tensors(declared(folder, MODELS[name]))
        COUNTED[name] = sum(math.prod(shape) for shape in shapes.values()) / 1e9
    return COUNTED[name]


@pytest.mark.parametrize("name", SOUND)
def test_the_values_counted_are_about_as_many_as_the_model_is_called_after(tmp_path, name):
    """A wrong column of the table would show here: the count comes from the shapes, the name from the publisher."""
    text = read_models(FACTS / "models.csv")[name].parameters
    nominal = float(text[:-1]) * UNITS[text[-1]] / 1e9
    counted = billions(name, tmp_path)
    in_name = billions_in_name(name.partition("/")[2])
    assert in_name is None or in_name == nominal
    if name in CALLED_OTHERWISE:
        assert counted == pytest.approx(CALLED_OTHERWISE[name], rel=0.005)
        assert counted != pytest.approx(nominal, rel=NAME_TOLERANCE), "no exception is needed"
    else:
        assert counted == pytest.approx(nominal, rel=NAME_TOLERANCE)


@pytest.mark.parametrize("name", SOUND)
def test_the_size_category_of_every_playbook_allows_the_values_counted(tmp_path, name):
    """What G0-INTEGRITY-EXPECTED asks of the published file must hold for the published shapes."""
    counted = billions(name, tmp_path)
    categories = {row.size_category for row in read_playbook_facts(FACTS / "playbooks.csv") if row.hf_repo == name}
    categories.add(read_models(FACTS / "models.csv")[name].size_category)
    for category in categories - {""}:
        assert fits(category, counted, tolerance=COUNT_TOLERANCE), category


@pytest.mark.parametrize("column", ["hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size"])
def test_a_column_that_is_a_fifth_too_large_shows_in_the_count(tmp_path, column):
    """The tolerance is not so wide that a wrong column passes: of the models whose matrices that column makes."""
    name = "mistralai/Mistral-7B-Instruct-v0.3" if column != "vocab_size" else "HuggingFaceTB/SmolLM2-135M-Instruct"
    config = MODELS[name] | {column: MODELS[name][column] * (3 if column == "vocab_size" else 2)}
    right = billions(name, tmp_path)
    wrong = sum(math.prod(shape) for shape in expected_tensors(declared(tmp_path, config)).values()) / 1e9
    assert wrong != pytest.approx(right, rel=NAME_TOLERANCE)


# Models that a class of transformers takes for its default, and the fields in which they differ from it.
DEFAULTS = {
    "bigcode/starcoder2-3b": (),
    "tiiuae/falcon-7b-instruct": ("num_kv_heads",),  # theirs is not read where multi_query is set
    "stabilityai/stablelm-zephyr-3b": (),
    "google/codegemma-7b-it": (),
    "google/gemma-2-2b-it": (),
    "microsoft/Phi-3-mini-4k-instruct": (),
    "HuggingFaceH4/zephyr-7b-beta": (),
    "lmsys/vicuna-7b-v1.5": (),
    "allenai/OLMo-2-1124-7B-Instruct": ("vocab_size",),
    "deepseek-ai/deepseek-coder-6.7b-instruct": ("vocab_size",),
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct": (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
        "q_lora_rank", "moe_intermediate_size", "first_k_dense_replace",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_the_defaults_of_transformers_are_the_model_that_they_describe(name):
    """An independent copy of the same facts, by the authors of the model code."""
    row = MODELS[name]
    theirs = transformers.AutoConfig.for_model(row["model_type"]).to_dict()
    shared = [key for key in row if key in theirs and key not in ("model_type", "tie_word_embeddings", *DEFAULTS[name])]
    assert {"hidden_size", "vocab_size", "num_hidden_layers"} - set(DEFAULTS[name]) <= set(shared)
    found = {key: row[key] for key in shared if theirs[key] is not None}
    assert found == {key: theirs[key] for key in found}


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
@pytest.mark.parametrize("name", SOUND)
def test_published_shapes_are_sound_in_other_formats(tmp_path, name, format_name):
    """By the file's own words: names mapped, parts joined, experts apart, declaration and shapes checked."""
    wanted = declared(tmp_path, MODELS[name])
    shapes = expected_tensors(wanted)
    path = tmp_path / f"model.{format_name}"
    write = write_gguf_header_only if format_name == "gguf" else write_apr_header_only
    if format_name == "gguf" and wanted.architecture in WITHOUT_GGUF:
        assert [n for n in shapes if gguf_name(n, wanted.architecture) is None and ".self_attn." in n]
        return
    with header_only(path, lambda: write(path, wanted, shapes)) as artifact:
        config = artifact.config
        read = {n: artifact.tensors.entry(n).shape for n in artifact.tensors.names()}
        assert read == shapes
        assert layout_problems(config, read) == []
        assert integrity_problems(config, read) == []
        for field in FIELDS:
            assert getattr(config, field) == getattr(wanted, field), field


@contextmanager
def header_only(path, write):
    """The file as an artifact. Skips where the file system has no holes of that size."""
    try:
        write()
    except OSError as error:
        pytest.skip(f"no file with such a hole: {error}")
    with open_artifact(path) as artifact:
        yield artifact


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_one_wrong_shape_is_refuted_in_other_formats(tmp_path, name, format_name):
    config = declared(tmp_path, MODELS[name])
    if format_name == "gguf" and config.architecture in WITHOUT_GGUF:
        return
    shapes = expected_tensors(config)
    victim = next(n for n in shapes if n.endswith(("o_proj.weight", "dense.weight", "wo.weight", "c_proj.weight")))
    rows, columns = shapes[victim]
    path = tmp_path / f"model.{format_name}"
    write = write_gguf_header_only if format_name == "gguf" else write_apr_header_only
    with header_only(path, lambda: write(path, config, shapes | {victim: (rows + 32, columns)})) as artifact:
        read = {n: artifact.tensors.entry(n).shape for n in artifact.tensors.names()}
        (problem,) = layout_problems(artifact.config, read)
        assert problem.tensor == victim


# Totals as their publishers give them (model cards), in 1e9, for families whose model code is not in transformers.
TOTALS = {
    "internlm/internlm2_5-7b-chat": 7.74,
    "internlm/internlm2_5-20b-chat": 19.86,
    "microsoft/Phi-3-small-8k-instruct": 7.39,
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct": 15.7,
}


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_the_total_is_the_published_one(tmp_path, name):
    shapes = expected_tensors(declared(tmp_path, MODELS[name]))
    assert sum(math.prod(shape) for shape in shapes.values()) / 1e9 == pytest.approx(TOTALS[name], rel=0.003)


def test_the_tables_agree_with_each_other():
    for row in read_playbook_facts(FACTS / "playbooks.csv"):
        config = MODELS[row.hf_repo]
        names = {
            "hidden_dim": "hidden_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "num_kv_heads": "num_key_value_heads",
            "vocab_size": "vocab_size",
            "intermediate_dim": "intermediate_size",
        }
        assert {key: config[names[key]] for key in row.dimensions} == dict(row.dimensions), row.file
    for size, expected in SIZES["qwen2"].items():
        config = MODELS[f"Qwen/Qwen2.5-{size.upper()}-Instruct"]
        assert expected == Size(
            config["hidden_size"], config["num_hidden_layers"], config["num_attention_heads"],
            config["num_key_value_heads"], config["intermediate_size"], config["vocab_size"],
        )  # fmt: skip


def test_all_families_that_are_published_here_are_looked_at():
    types = {config["model_type"] for config in MODELS.values()}
    assert types <= set(KNOWN)
    assert len(ONE_OF_EACH) == len(types) >= 17
    with (FACTS / "shapes.csv").open(encoding="utf-8", newline="") as stream:
        assert all(int(row["heads"]) % int(row["kv_heads"]) == 0 for row in csv.DictReader(stream))


@pytest.mark.parametrize("name", ONE_OF_EACH)
@pytest.mark.parametrize("defect", ["transposed", "a row less", "vocabulary", "layers"])
def test_one_wrong_shape_is_refuted(tmp_path, name, defect):
    published_config = dict(MODELS[name])
    shapes = expected_tensors(declared(tmp_path, published_config))
    if defect == "vocabulary":
        published_config["vocab_size"] += 64
    elif defect == "layers":
        published_config["num_hidden_layers"] -= 1
    else:
        matrices = [n for n, shape in shapes.items() if len(shape) == 2 and shape[0] != shape[1] and ".0." in n]
        victim = matrices[0]
        rows, columns = shapes[victim]
        shapes[victim] = (columns, rows) if defect == "transposed" else (rows - 1, columns)
    config, read = opened(tmp_path, published_config, shapes)
    layout, integrity = layout_problems(config, read), integrity_problems(config, read)
    if defect in ("transposed", "a row less"):
        assert [problem.tensor for problem in layout] == [victim]
        assert ("(transposed)" in str(layout[0])) is (defect == "transposed")
    elif defect == "vocabulary":
        assert any("VOCAB" in problem for problem in integrity) or layout
        assert layout
    else:
        assert any("LAYERS" in problem for problem in integrity)
