"""How a model asks to be sampled and where its answers end: generation_config.json, and the same keys of GGUF."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_aprqa.models.artifact import OpenArtifact

Row = tuple[Any, Any, bool]
FILE = "generation_config.json"
ENDS = "generation eos_token_id"
FLOAT_DIGITS = 1e-6  # relative: GGUF stores them as float32
# What transformers takes where the file leaves a field out (public GenerationConfig).
_DEFAULTS: dict[str, Any] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
    "bad_words_ids": None,
    "stop_strings": None,
    "num_beams": 1,
    "length_penalty": 1.0,
    "max_length": None,  # 20 before transformers 5, which wrote it only where it was another
    "max_new_tokens": None,
    "min_new_tokens": None,
}
# Keys that llama.cpp's converter writes from generation_config.json, and obeys (gguf-py, Keys.General.SAMPLING_*).
_GGUF_KEYS = {"temp": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
_GGUF_KEYS["penalty_repeat"] = "repetition_penalty"


def generation_settings(source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """field -> (of the target, of the source, same): sampling where both declare it, ends wherever they are lost."""
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.models.tokenizer_folder import companion_json

    if source.format != "safetensors" or target.format == "apr":
        return {}
    try:
        mine = companion_json(source.folder / FILE)
    except ModelError:
        return {}  # a source that says nothing sound asks for nothing
    if target.format == "gguf":
        return _of_gguf(mine, target.file.metadata)
    try:
        theirs = companion_json(target.folder / FILE)
        rows = _ends(source, mine, target, theirs)
    except ModelError as error:
        return {FILE: (error.problem, "a file that can be read", False)}
    if mine and theirs:
        for field, default in _DEFAULTS.items():
            found, expected = theirs.get(field, default), mine.get(field, default)
            if field in mine or field in theirs:
                rows[field] = (found, expected, _same(found, expected))
    return rows


def _of_gguf(mine: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Row]:
    rows = {}
    for key, field in _GGUF_KEYS.items():
        found, expected = metadata.get(f"general.sampling.{key}"), mine.get(field)
        if found is not None and expected is not None:
            rows[f"general.sampling.{key}"] = (found, expected, _same(found, expected))
    return rows


def _ends(
    source: OpenArtifact, mine: Mapping[str, Any], target: OpenArtifact, theirs: Mapping[str, Any]
) -> dict[str, Row]:
    """End tokens that engines take from the files: every one of the source's, none that it does not end with."""
    from pytest_aprqa.models.config import document_of
    from pytest_aprqa.models.errors import ModelError

    expected = _ids(mine.get("eos_token_id")) or _ids(document_of(source.file.path).get("eos_token_id"))
    found = _ids(theirs.get("eos_token_id")) or _ids(document_of(target.file.path).get("eos_token_id"))
    if not expected:
        return {}
    try:
        allowed = expected | source.tokenizer.end_ids
    except ModelError:
        allowed = expected
    return {ENDS: (sorted(found), sorted(expected), expected <= found <= allowed)}


def _ids(value: Any) -> frozenset[int]:
    values = value if isinstance(value, list) else [value]
    return frozenset(one for one in values if isinstance(one, int) and not isinstance(one, bool))


def _same(found: Any, expected: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (found, expected))
    return math.isclose(found, expected, rel_tol=FLOAT_DIGITS) if numbers else bool(found == expected)
