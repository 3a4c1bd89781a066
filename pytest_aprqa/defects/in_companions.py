"""Defects of the files beside the weights: special tokens, sampling, ends of answers, code and types, model card."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.declarations import (
    CONFIG,
    GENERATION,
    TOKENIZER,
    edit_json,
    set_card_fields,
    set_config,
)
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.tensor_operations import Operation

OTHER_CLASSES = ("LlamaForCausalLM", "MistralForCausalLM")
DTYPE_FIELDS = ("dtype", "torch_dtype")


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str) -> Defect:
    return Defect(name, title, origin, "safetensors", gateway, operation)


def _show_control_tokens(tokenizer: dict[str, Any]) -> None:
    special = [token for token in tokenizer.get("added_tokens", []) if token.get("special")]
    if not special:
        raise DefectNotApplicableError(TOKENIZER, "added_tokens", "the tokenizer has no special token")
    for token in special:
        token["special"] = False


def _other_begin(config: dict[str, Any]) -> int:
    if not isinstance(config.get("bos_token_id"), int):
        raise DefectNotApplicableError(CONFIG, "bos_token_id", "the model declares no BOS")
    return 11 if config["bos_token_id"] != 11 else 12


def _lose_an_end(generation: dict[str, Any]) -> None:
    ends = generation.get("eos_token_id")
    if not isinstance(ends, list) or len(ends) < 2:
        raise DefectNotApplicableError(GENERATION, "eos_token_id", "the model has one end token")
    generation["eos_token_id"] = ends[:1]


def _other_class(config: dict[str, Any]) -> list[str]:
    return [next(name for name in OTHER_CLASSES if [name] != config.get("architectures"))]


def _other_dtype(config: dict[str, Any]) -> None:
    field = next((name for name in DTYPE_FIELDS if isinstance(config.get(name), str)), None)
    if field is None:
        raise DefectNotApplicableError(CONFIG, "dtype", "the model declares no type")
    config[field] = "float16" if config[field] != "float16" else "bfloat16"


def _window_every_layer(config: dict[str, Any]) -> None:
    if not isinstance(config.get("layer_types"), list):
        raise DefectNotApplicableError(CONFIG, "layer_types", "the model declares no attention of its layers")
    config["layer_types"] = ["sliding_attention"] * len(config["layer_types"])


def _eat_spaces(tokenizer: dict[str, Any]) -> None:
    if not tokenizer.get("added_tokens"):
        raise DefectNotApplicableError(TOKENIZER, "added_tokens", "the tokenizer has none")
    for token in tokenizer["added_tokens"]:
        token["lstrip"] = True


DEFECTS: tuple[Defect, ...] = (
    _defect(
        "added-tokens-eat-spaces",
        "I-5",
        "added tokens take the spaces before them",
        edit_json(TOKENIZER, _eat_spaces),
        origins.STRIPPING,
    ),
    _defect(
        "architectures-lost",
        "G0",
        "config.json names no class",
        edit_json(CONFIG, lambda config: config.pop("architectures", None)),
        origins.NO_ARCHITECTURES,
    ),
    _defect(
        "code-added",
        "G0",
        "config.json asks for code of its own",
        set_config(auto_map={"AutoModelForCausalLM": "modeling_other.OtherForCausalLM"}),
        origins.ADDED_CODE,
    ),
    _defect(
        "answers-cut",
        "G0",
        "generation_config.json ends answers after 20 tokens",
        edit_json(GENERATION, lambda document: document.update(max_new_tokens=20)),
        origins.SHORT_ANSWERS,
    ),
    _defect(
        "control-tokens-not-special",
        "I-5",
        "every control token is declared special: false",
        edit_json(TOKENIZER, _show_control_tokens),
        origins.SHOWN_CONTROL,
    ),
    _defect(
        "begin-token-wrong",
        "I-5",
        "config.json names token 11 as BOS",
        set_config(bos_token_id=_other_begin),
        origins.WRONG_BEGIN,
    ),
    _defect(
        "generation-ends-lost",
        "G0",
        "generation_config.json lists one of the end tokens",
        edit_json(GENERATION, _lose_an_end),
        origins.GENERATION_ENDS,
    ),
    _defect(
        "sampling-changed",
        "G0",
        "generation_config.json asks for sampling at temperature 1.5",
        edit_json(GENERATION, lambda document: document.update(do_sample=True, temperature=1.5)),
        origins.SAMPLING,
    ),
    _defect(
        "card-of-another-model",
        "G0",
        "the model card names another base model",
        set_card_fields("base_model: meta-llama/Llama-3.2-1B-Instruct"),
        origins.OTHER_CARD,
    ),
    _defect(
        "card-claims-another-type",
        "G0",
        "the model card says that the weights are Q4_K_M",
        set_card_fields("quantization: Q4_K_M"),
        origins.CARD_TYPE,
    ),
    _defect(
        "architectures-wrong",
        "G0",
        "config.json names the class of another family",
        set_config(architectures=_other_class),
        origins.OTHER_CODE,
    ),
    _defect(
        "dtype-wrong",
        "G0",
        "config.json declares another float type than the tensors have",
        edit_json(CONFIG, _other_dtype),
        origins.OTHER_DTYPE,
    ),
    _defect(
        "quantization-left-declared",
        "G0",
        "config.json says that plain floats are quantised",
        set_config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        origins.LEFT_QUANTISED,
    ),
    _defect(
        "layer-types-wrong",
        "G0",
        "config.json gives every layer a sliding window",
        edit_json(CONFIG, _window_every_layer),
        origins.LAYER_TYPES,
    ),
)
