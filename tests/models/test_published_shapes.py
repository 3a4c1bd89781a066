"""Published shapes of all models of the registry pass the structure checks; one wrong shape of each family fails."""

from __future__ import annotations

import csv
import math

import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.families import EMBEDDINGS, expected_tensors, integrity_problems, layout_problems
from pytest_aprqa.models.family_table import SIZES, Size
from pytest_aprqa.models.family_templates import KNOWN
from pytest_aprqa.playbooks.facts import read_models, read_playbook_facts
from tests.models.published_shapes import FACTS, published, write_header_only

MODELS = published()
# Families whose tensors nobody has written a template for: the checks must say so, not pass.
WITHOUT_TEMPLATE = {"phi3small", "deepseek_v2", "internlm2"}
SOUND = sorted(name for name, config in MODELS.items() if config["model_type"] not in WITHOUT_TEMPLATE)
ONE_OF_EACH = sorted({MODELS[name]["model_type"]: name for name in SOUND}.values())
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


@pytest.mark.parametrize("name", SOUND)
def test_the_values_counted_are_about_as_many_as_the_model_is_called_after(tmp_path, name):
    """A wrong column of the table would show here: the count comes from the shapes, the name from the publisher."""
    shapes = expected_tensors(declared(tmp_path, MODELS[name]))
    text = read_models(FACTS / "models.csv")[name].parameters
    assert sum(math.prod(shape) for shape in shapes.values()) == pytest.approx(
        float(text[:-1]) * UNITS[text[-1]], rel=0.32
    )


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(SOUND)))
def test_a_family_without_a_template_is_refused_by_name(tmp_path, name):
    with pytest.raises(ModelError, match="is not known"):
        expected_tensors(declared(tmp_path, MODELS[name]))


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
    assert types - WITHOUT_TEMPLATE <= set(KNOWN)
    assert len(ONE_OF_EACH) == len(types - WITHOUT_TEMPLATE) >= 14
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
