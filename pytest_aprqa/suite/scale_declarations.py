"""Numbers that no tensor shows and engines obey: caps, multipliers, experts of a token. In config.json and in GGUF.

Names and defaults are those of the public configuration code and of llama.cpp's loaders (`llama_model_*`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_aprqa.models.artifact import OpenArtifact

Row = tuple[Any, Any, bool]
FLOAT_DIGITS = 1e-6  # relative: GGUF stores float32
#: family -> (field of config.json, its default there, key of GGUF, what llama.cpp takes without the key: None: it
#: refuses the file or takes what no config.json means).
GGUF_SCALES: Final[dict[str, tuple[tuple[str, Any, str, Any], ...]]] = {
    "gemma2": (
        ("attn_logit_softcapping", 50.0, "attn_logit_softcapping", 50.0),
        ("final_logit_softcapping", 30.0, "final_logit_softcapping", 30.0),
    ),
    "gemma3_text": (("final_logit_softcapping", 0.0, "final_logit_softcapping", 0.0),),
    "granite": (
        ("embedding_multiplier", 1.0, "embedding_scale", 1.0),
        ("residual_multiplier", 1.0, "residual_scale", 1.0),
        ("attention_multiplier", 1.0, "attention.scale", None),
        ("logits_scaling", 1.0, "logit_scale", None),
    ),
    "deepseek_v2": (("routed_scaling_factor", 1.0, "expert_weights_scale", 1.0),),
}
#: Fields of config.json that change what a model computes: another value, or one that was lost, is another model.
FIELDS: Final = (
    "attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar", "embedding_multiplier",
    "residual_multiplier", "attention_multiplier", "logits_scaling", "logit_scale", "num_experts_per_tok",
    "norm_topk_prob", "routed_scaling_factor", "scoring_func", "topk_method", "n_group", "topk_group", "clip_qkv",
    "use_qk_norm", "hidden_activation", "moe_layer_freq", "decoder_sparse_step", "no_rope_layers",
    "use_parallel_residual", "attention_chunk_size", "scale_emb", "scale_depth", "dim_model_base", "alibi",
)  # fmt: skip


def scales_of_gguf(document: Mapping[str, Any], source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """key -> (what the engine computes with, what DOCUMENT means, same); only keys of the source's family."""
    rows: dict[str, Row] = {}
    metadata, architecture = target.file.metadata, target.config.architecture
    for field, usual, key, absent in GGUF_SCALES.get(source.config.architecture, ()):
        expected = document.get(field)
        # A cap that is null is none, which llama.cpp writes as 0.
        expected = (0.0 if field in document and "softcapping" in field else usual) if expected is None else expected
        found = metadata.get(f"{architecture}.{key}")
        if found is None:
            rows[key] = (absent, expected, absent is not None and _same(absent, expected))
        else:
            rows[key] = (found, expected, _same(found, expected))
    return rows | _long_context(document, source, target)


def _long_context(document: Mapping[str, Any], source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """LongRoPE: the context of the training, and the factor of the logits that loaders compute from it."""
    scaling = dict(source.config.rope_scaling)
    trained = scaling.get("original_max_position_embeddings") or document.get("original_max_position_embeddings")
    if scaling.get("rope_type") != "longrope" or not isinstance(trained, int) or trained < 2:
        return {}
    positions = source.config.max_position_embeddings
    usual = math.sqrt(1 + math.log(positions / trained) / math.log(trained)) if positions > trained else 1.0
    metadata, key = target.file.metadata, f"{target.config.architecture}.rope.scaling."
    wanted = {
        "original_context_length": (trained, positions),
        "attn_factor": (scaling.get("attention_factor") or usual, 1.0),
    }
    rows = {}
    for name, (expected, absent) in wanted.items():
        found = metadata.get(key + name, absent)
        rows[f"rope.scaling.{name}"] = (found, expected, _same(found, expected))
    return rows


def scales_of_json(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Row]:
    """field -> (of the target's config.json, of the source's, same) for each that the source declares, or both do."""
    rows: dict[str, Row] = {}
    for field in FIELDS:
        found, expected = theirs.get(field), mine.get(field)
        if expected is not None and field in mine:
            rows[field] = (found, expected, _same(found, expected))
        elif found is not None and field in mine:
            rows[field] = (found, expected, False)  # null says: none
    return rows


def _same(found: Any, expected: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (found, expected))
    return math.isclose(found, expected, rel_tol=FLOAT_DIGITS) if numbers else bool(found == expected)
