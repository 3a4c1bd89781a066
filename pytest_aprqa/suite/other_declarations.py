"""Declarations that engines obey and that are no dimension: which code runs the model, how much of a head rotates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_aprqa.models.artifact import OpenArtifact

Row = tuple[Any, Any, bool]
# Names that config.json gives the types of tensors.
_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}


def other_declarations(source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """field -> (declared by the target, by the source, same); only what both declare, or what one must not add.

    ModelError: a config.json that cannot be read.
    """
    from pytest_aprqa.models.config import document_of

    if source.format != "safetensors" or target.format == "apr":
        return {}
    mine = document_of(source.file.path)
    return _of_gguf(mine, source, target) if target.format == "gguf" else _of_json(mine, target)


def _of_gguf(mine: Mapping[str, Any], source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """Keys of GGUF that llama.cpp obeys: those of the family, values of a value head, experts of a token."""
    from pytest_aprqa.models.families import FAMILIES
    from pytest_aprqa.suite.family_keys import keys_of_family
    from pytest_aprqa.suite.scale_declarations import scales_of_gguf

    metadata, config = target.file.metadata, source.config
    expected: dict[str, Any] = {}
    if config.architecture in FAMILIES:
        expected = {"attention.value_length": config.head_dim}
    if config.num_experts and mine.get("num_experts_per_tok") is not None:
        expected["expert_used_count"] = mine["num_experts_per_tok"]
    rows = scales_of_gguf(mine, source, target) | keys_of_family(mine, source, target)
    if metadata.get(f"{target.config.architecture}.attention.causal") is False:  # each token would see the later ones
        rows["attention.causal"] = (False, True, False)
    for field, wanted in expected.items():
        found = metadata.get(f"{target.config.architecture}.{field}")
        if found is not None:
            rows[field] = (found, wanted, found == wanted)
    return rows


def _rotated_part(document: Mapping[str, Any]) -> Any:
    """The part of a head that rotates as a config.json says it, in one of two places; None: it says nothing."""
    scaling = document.get("rope_parameters") or document.get("rope_scaling") or {}
    return scaling.get("partial_rotary_factor") or document.get("partial_rotary_factor")


def _of_json(mine: Mapping[str, Any], target: OpenArtifact) -> dict[str, Row]:
    """Fields of config.json by which engines choose the model's code, its types, scales and attention of its layers."""
    from pytest_aprqa.models.config import document_of
    from pytest_aprqa.models.families import FAMILIES
    from pytest_aprqa.suite.scale_declarations import scales_of_json
    from pytest_aprqa.suite.stored_types import majority_type

    theirs = document_of(target.file.path)
    rows = scales_of_json(mine, theirs)
    for field in ("architectures", "layer_types", "auto_map"):
        found, expected = theirs.get(field), mine.get(field)
        # Without `architectures` some engines run nothing; `auto_map` makes others run code that came with the file.
        judged = {"architectures": expected, "auto_map": found or expected}.get(field, found and expected)
        if judged:
            rows[field] = (found, expected, found == expected)
    found, expected = _rotated_part(theirs), _rotated_part(mine)
    if found is not None or expected is not None:
        usual = 1.0 if target.config.architecture in FAMILIES else None
        found, expected = (usual if one is None else one for one in (found, expected))
        if found is not None and expected is not None:
            rows["partial_rotary_factor"] = (found, expected, found == expected)
    found, expected = (one.get("dtype") or one.get("torch_dtype") for one in (theirs, mine))
    if isinstance(found, str) and isinstance(expected, str):
        stored = majority_type(target.tensors.entry(name) for name in target.tensors.names())
        rows["dtype"] = (found, expected, found == expected or _DTYPES.get(found) == stored)
    found, expected = (one.get("quantization_config") for one in (theirs, mine))
    if found != expected:
        rows["quantization_config"] = (found, expected, False)
    return rows
