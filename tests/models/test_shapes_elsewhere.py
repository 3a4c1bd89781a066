"""shapes.csv against what other projects say of the same models: sizes by layer count, as llama.cpp names them."""

import pytest

from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.playbooks.facts import read_models
from tests.models.published_shapes import FACTS, published

MODELS = published()
# general.architecture -> {layers (and width where that decides): what llama.cpp calls such a model, in 1e9}. From its
# src/llama-model.cpp at commit 00342301d01a; the tables of families that share an architecture (llama) say little.
BY_LAYERS: dict[str, dict[int | tuple[int, int], float]] = {
    "qwen2": {(28, 1536): 1.5, (28, 3584): 7, 36: 3, 48: 14, 64: 32, 80: 70},
    "qwen3": {(28, 1024): 0.6, (28, 2048): 1.7, (36, 2560): 4, (36, 4096): 8, 40: 14, 64: 32},
    "qwen3moe": {48: 30, 94: 235},
    "gemma": {18: 2, 28: 7},
    "gemma2": {26: 2, 42: 9, 46: 27},
    "gemma3": {18: 0.27, 26: 1, 34: 4, 48: 12, 62: 27},
    "falcon": {32: 7, 60: 40},
    "internlm2": {32: 7, 48: 20},
    "olmo2": {16: 1, 32: 7, 40: 13, 64: 32},
    "phi3": {24: 1, 32: 3, 40: 14},
    "stablelm": {24: 1, 32: 3, 40: 12},
    "starcoder": {24: 1, 36: 3, 42: 7, 40: 15},
    "starcoder2": {30: 3, 32: 7, 40: 15},
    "deepseek2": {27: 16, 60: 236, 61: 671},
}
# Its names are round: 1.6 is called 1, 3.8 is called 3, 72 is called 70.
ROUNDED = {"stabilityai/stablelm-2-zephyr-1_6b", "microsoft/Phi-3-mini-4k-instruct", "microsoft/Phi-3.5-mini-instruct",
           "microsoft/Phi-4-mini-instruct", "Qwen/Qwen2.5-72B-Instruct"}  # fmt: skip
UNITS = {"B": 1.0, "M": 1e-3}


def architecture(config):
    return ARCHITECTURE_OF.get(config["model_type"], config["model_type"])


# 24 layers of Qwen2 are called 1 there, whatever their width; those of Llama's architecture are of many families.
NAMED = sorted(
    name for name, config in MODELS.items() if architecture(config) in BY_LAYERS and config["num_hidden_layers"] != 24
)


@pytest.mark.parametrize("name", [*NAMED, "stabilityai/stablelm-2-zephyr-1_6b"])
def test_the_layers_are_those_of_a_model_of_that_size(name):
    config = MODELS[name]
    table, layers = BY_LAYERS[architecture(config)], config["num_hidden_layers"]
    size = table.get(layers, table.get((layers, config["hidden_size"])))
    text = read_models(FACTS / "models.csv")[name].parameters
    nominal = float(text[:-1]) * UNITS[text[-1]]
    assert size is not None, f"{layers} layers of width {config['hidden_size']} are of no model that llama.cpp names"
    assert (int(nominal) // 10 * 10 == size or int(nominal) == size) if name in ROUNDED else nominal == size


def test_most_families_are_looked_at():
    assert len(NAMED) >= 45
    assert {architecture(MODELS[name]) for name in NAMED} == set(BY_LAYERS)
