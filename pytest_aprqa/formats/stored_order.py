"""How GGUF stores the values of a Hugging Face tensor, family by family, and the way back.

Converters permute rotated rows, add one to some norms, transpose GPT-2's matrices and regroup fused rows.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.permutation import PERMUTED_ARCHITECTURES, permute_rows, unpermute_rows

#: Families whose norms compute with 1 + weight; their GGUF files hold that sum.
ONE_PLUS_NORMS: Final = frozenset({"gemma", "gemma2", "gemma3", "gemma3_text", "nemotron"})
_ROTATED: Final = re.compile(r"model\.layers\.\d+\.self_attn\.([qk])_proj\.(?:weight|bias)")
_CONV1D: Final = re.compile(r"transformer\.h\.\d+\.(?:attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
_FUSED: Final = re.compile(
    r"(?:transformer\.h\.\d+\.self_attention|gpt_neox\.layers\.\d+\.attention)\.query_key_value\.(?:weight|bias)"
)
_REGROUPED: Final = ("falcon", "falcon_two_norms", "gpt_neox", "gptneox")


class Order(Enum):
    """What the converter does to a tensor."""

    QUERY_ROWS = "rows of the query heads interleaved"
    KEY_ROWS = "rows of the key heads interleaved"
    ONE_ADDED = "one added"
    TRANSPOSED = "transposed"
    REGROUPED = "rows of all queries, then keys, then values"


def order_of(name: str, architecture: str) -> Order | None:
    """What a GGUF file of `architecture` (model_type or general.architecture) does to Hugging Face tensor NAME."""
    if architecture in PERMUTED_ARCHITECTURES and (match := _ROTATED.fullmatch(name)):
        return Order.QUERY_ROWS if match[1] == "q" else Order.KEY_ROWS
    if architecture in ONE_PLUS_NORMS and name.endswith("norm.weight"):
        return Order.ONE_ADDED
    if architecture == "gpt2" and _CONV1D.fullmatch(name):
        return Order.TRANSPOSED
    if architecture in _REGROUPED and _FUSED.fullmatch(name):
        return Order.REGROUPED
    return None


def shape_of(shape: tuple[int, ...], order: Order | None) -> tuple[int, ...]:
    """The other side's shape: only a transposed matrix has another one."""
    return shape[::-1] if order is Order.TRANSPOSED else shape


def to_stored(values: NDArray[Any], order: Order | None, heads: int, kv_heads: int) -> NDArray[Any]:
    """Hugging Face values -> values as GGUF stores them. ValueError: rows do not split into the heads."""
    return _ordered(values, order, heads, kv_heads, back=False)


def from_stored(values: NDArray[Any], order: Order | None, heads: int, kv_heads: int) -> NDArray[Any]:
    """Values as GGUF stores them -> Hugging Face values, the inverse of `to_stored`. ValueError as there."""
    return _ordered(values, order, heads, kv_heads, back=True)


def _ordered(values: NDArray[Any], order: Order | None, heads: int, kv_heads: int, *, back: bool) -> NDArray[Any]:
    if order in (Order.QUERY_ROWS, Order.KEY_ROWS):
        reorder = unpermute_rows if back else permute_rows
        return reorder(values, heads if order is Order.QUERY_ROWS else kv_heads)
    if order is Order.ONE_ADDED:
        shifted: NDArray[Any] = values - 1 if back else values + 1
        return shifted
    if order is Order.TRANSPOSED:
        return np.ascontiguousarray(values.T)
    if order is Order.REGROUPED:
        rows = _fused_rows(values.shape[0] if values.ndim else 0, heads, kv_heads)
        if not back:
            return values[rows]
        ungrouped = np.empty_like(values)
        ungrouped[rows] = values
        return ungrouped
    return values


def _fused_rows(rows: int, heads: int, kv_heads: int) -> NDArray[np.int64]:
    """Row numbers of the grouped tensor (per key-value head: queries, key, value) in the order of the stored one."""
    if heads < 1 or kv_heads < 1 or heads % kv_heads or rows < 1 or rows % (heads + 2 * kv_heads):
        raise ValueError(f"{rows} rows do not split into {heads} query heads and {kv_heads} key-value heads")
    size = rows // (heads + 2 * kv_heads)
    grouped = np.arange(rows, dtype=np.int64).reshape(kv_heads, heads // kv_heads + 2, size)
    return np.concatenate([part.reshape(-1) for part in (grouped[:, :-2], grouped[:, -2], grouped[:, -1])])
