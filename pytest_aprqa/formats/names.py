"""Tensor names: the one mapping between Hugging Face names and GGUF names, by architecture.

Both directions come from the same rows, so that the mapping is a bijection; unknown names give None.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from pytest_aprqa.formats.name_tables import table_of

_GGUF_LAYER: Final = re.compile(r"blk\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)")
_LAYER_TAIL: Final = re.compile(r"\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)")
_EXPERT: Final = re.compile(r"\.(0|[1-9]\d{0,5})\.(\w+)")
_PARTS: Final = (".weight", ".bias")


def gguf_name(hf_name: str, architecture: str) -> str | None:
    """GGUF name of a Hugging Face tensor, or None when the table has no row for it.

    All experts of a layer have one name: GGUF stacks them in the order of their numbers.
    """
    table = table_of(architecture)
    module, dot, part = hf_name.rpartition(".")
    if dot + part in _PARTS and module in table.globals:
        return f"{table.globals[module]}.{part}"
    match = _LAYER_TAIL.fullmatch(hf_name.removeprefix(table.prefix)) if hf_name.startswith(table.prefix) else None
    if not match:
        return None
    inside = table.layers.get(match[2])
    if inside is None and table.experts and match[2].startswith(table.experts_at):
        expert = _EXPERT.fullmatch(match[2].removeprefix(table.experts_at))
        inside = table.experts.get(expert[2]) if expert else None
    return f"blk.{match[1]}.{inside}.{match[3]}" if inside else None


def hf_name(gguf_name: str, architecture: str) -> str | None:
    """Hugging Face name of a GGUF tensor, or None when the table has no row for it (stacked experts have several)."""
    globals_, layers, prefix = _backwards(architecture)
    module, dot, part = gguf_name.rpartition(".")
    if dot + part in _PARTS and module in globals_:
        return f"{globals_[module]}.{part}"
    match = _GGUF_LAYER.fullmatch(gguf_name)
    inside = layers.get(match[2]) if match else None
    return f"{prefix}.{match[1]}.{inside}.{match[3]}" if match and inside else None


def expert_names(gguf_name: str, architecture: str, count: int) -> list[str]:
    """Hugging Face names of the COUNT experts that one GGUF tensor stacks, in its order; empty for other tensors."""
    table = table_of(architecture)
    match = _GGUF_LAYER.fullmatch(gguf_name)
    if not match or not table.experts:
        return []
    modules = [ours for ours, theirs in table.experts.items() if theirs == match[2]]
    start = f"{table.prefix}.{match[1]}.{table.experts_at}"
    return [f"{start}.{number}.{module}.{match[3]}" for module in modules for number in range(count)]


@lru_cache(maxsize=64)
def _backwards(architecture: str) -> tuple[dict[str, str], dict[str, str], str]:
    table = table_of(architecture)
    rows = ({theirs: ours for ours, theirs in one.items()} for one in (table.globals, table.layers))
    return next(rows), next(rows), table.prefix
