"""Keys of GGUF that only some families have, against those that our converter makes of the source's config.json."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

Row = tuple[Any, Any, bool]
ROTATED, PATTERN = "rope.dimension_count", "attention.sliding_window_pattern"
#: key -> what llama.cpp takes without it; None: it refuses the file, or what it takes depends on the model.
KEYS: Final[dict[str, Any]] = {
    ROTATED: None,
    PATTERN: 6,  # of Gemma 3: each sixth layer sees all
    "rope.freq_base_swa": 10000.0,
    "attention.clamp_kqv": 0.0,
    "use_parallel_residual": None,
}
FLOAT_DIGITS = 1e-6  # relative: GGUF stores float32


def keys_of_family(document: Mapping[str, Any], source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """key -> (what the engine computes with, what DOCUMENT means, same); nothing of families that we do not write."""
    from pytest_aprqa.lifecycle.errors import LifecycleError
    from pytest_aprqa.lifecycle.gguf_keys import family_keys
    from pytest_aprqa.lifecycle.gguf_rules import RULES
    from pytest_aprqa.lifecycle.source import Source

    config, metadata = source.config, target.file.metadata
    rules = RULES.get(config.architecture)
    if rules is None:
        return {}
    unread = cast("TokenizerDeclaration", None)  # no key of a family is about tokens
    seen = Source(source.folder, source.file, dict(document), {}, {}, config, unread)
    try:
        wanted = {key: value for key, (value, _) in family_keys(seen, rules).items() if key in KEYS}
    except LifecycleError:
        return {}  # a source that cannot be written says nothing
    rows: dict[str, Row] = {}
    for key, expected in wanted.items():
        if expected is None:
            continue
        found = metadata.get(f"{target.config.architecture}.{key}")
        taken = _taken(key, found, source)
        rows[key] = (taken, expected, _same(taken, expected))
    return rows


def _taken(key: str, found: Any, source: OpenArtifact) -> Any:
    """What the engine computes with; a pattern of windows is told by its period or layer by layer."""
    config = source.config
    taken = KEYS[key] if found is None else found
    if key == ROTATED and found is None and config.latent is None:
        return config.head_dim
    if key == PATTERN and isinstance(taken, int) and not isinstance(taken, bool):
        return [not taken or bool((layer + 1) % taken) for layer in range(config.num_layers)]
    return taken


def _same(found: Any, expected: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (found, expected))
    return math.isclose(found, expected, rel_tol=FLOAT_DIGITS) if numbers else bool(found == expected)
