"""One Hugging Face tensor that GGUF stores as several: InternLM2's fused q, k, v; DeepSeek-V2's latent keys and values.

Facts of the public conversion code; the parts are joined again, so that both files have the same canonical tensor.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats.name_tables import FAMILY_OF
from pytest_aprqa.formats.permutation import permute_rows, unpermute_rows

Shape = tuple[int, ...]
_PART: Final = re.compile(r"blk\.(0|[1-9]\d{0,5})\.(\w+)\.(weight|bias)")


@dataclass(frozen=True, slots=True)
class Join:
    """`module` of a layer of Hugging Face, and the GGUF modules that hold its rows."""

    module: str
    parts: tuple[str, ...]


#: model_type -> the tensor of each layer that is stored in parts
JOINS: Final[dict[str, Join]] = {
    "internlm2": Join("attention.wqkv", ("attn_q", "attn_k", "attn_v")),
    "deepseek_v2": Join("self_attn.kv_b_proj", ("attn_k_b", "attn_v_b")),
}


def join_of(architecture: str) -> Join | None:
    """The join of a model_type or `general.architecture`."""
    return JOINS.get(FAMILY_OF.get(architecture, architecture))


def joined_names(own_names: Collection[str], architecture: str) -> dict[str, tuple[str, ...]]:
    """Hugging Face name -> names of its parts, for each layer of which the file has all parts."""
    join = join_of(architecture)
    found: dict[str, tuple[str, ...]] = {}
    for name in own_names if join else ():
        match = _PART.fullmatch(name)
        if join and match and match[2] == join.parts[0]:
            parts = tuple(f"blk.{match[1]}.{part}.{match[3]}" for part in join.parts)
            if all(part in own_names for part in parts):
                found[f"model.layers.{match[1]}.{join.module}.{match[3]}"] = parts
    return found


def part_shapes(name: str, architecture: str, shape: Shape, heads: int, kv_heads: int, split: int) -> dict[str, Shape]:
    """GGUF name -> shape of the parts of Hugging Face tensor NAME; empty where it is stored whole.

    `split`: rows of a head that are keys (of InternLM2: the size of a head). ValueError: rows do not split.
    """
    join = join_of(architecture)
    match = re.fullmatch(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
    if not join or not match or match[2] != join.module:
        return {}
    if len(join.parts) == 3:
        sizes: list[Shape] = [(count * split, *shape[1:]) for count in (heads, kv_heads, kv_heads)]
    else:
        sizes = [(heads, shape[1], split), (heads, shape[0] // heads - split, shape[1])]
    if sum(_elements(size) for size in sizes) != _elements(shape):
        raise ValueError(f"{list(shape)} does not split into {heads} heads and {kv_heads} key-value heads")
    return {f"blk.{match[1]}.{part}.{match[3]}": size for part, size in zip(join.parts, sizes, strict=True)}


def _elements(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64))


def joined_shape(shapes: Sequence[Shape]) -> Shape:
    """Shape of the whole of parts of these shapes, which `joined_values` gives."""
    if len(shapes) == 3 or len(shapes[0]) != 3 or len(shapes[1]) != 3:
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])
    (heads, rank, keys), (_, values, _) = shapes
    return heads * (keys + values), rank


def joined_values(parts: Sequence[NDArray[Any]], heads: int, kv_heads: int) -> NDArray[Any]:
    """The whole of its parts as GGUF stores them. ValueError: their rows do not split into the heads."""
    if len(parts) == 2:
        keys, values = parts
        if keys.ndim != 3 or values.ndim != 3 or keys.shape[0] != values.shape[0] or keys.shape[1] != values.shape[2]:
            raise ValueError(f"{list(keys.shape)} and {list(values.shape)} are no keys and values of the same heads")
        together = np.concatenate([keys.transpose(0, 2, 1), values], axis=1)
        return together.reshape(-1, together.shape[-1])
    query, key, value = unpermute_rows(parts[0], heads), unpermute_rows(parts[1], kv_heads), parts[2]
    if heads % kv_heads or value.shape != key.shape or query.shape[0] * kv_heads != key.shape[0] * heads:
        found = [list(part.shape) for part in parts]
        raise ValueError(f"{found} are no rows of {heads} query heads and {kv_heads} key-value heads")
    size, rest = key.shape[0] // kv_heads, key.shape[1:]
    grouped = [part.reshape(kv_heads, -1, size, *rest) for part in (query, key, value)]
    return np.concatenate(grouped, axis=1).reshape(-1, *rest)


def split_values(whole: NDArray[Any], heads: int, kv_heads: int, split: int, *, latent: bool) -> list[NDArray[Any]]:
    """The parts of a Hugging Face tensor as GGUF stores them, the inverse of `joined_values`. `split` as there."""
    rest = whole.shape[1:]
    if latent:
        grouped = whole.reshape(heads, -1, *rest)
        return [np.ascontiguousarray(grouped[:, :split].transpose(0, 2, 1)), np.ascontiguousarray(grouped[:, split:])]
    grouped = whole.reshape(kv_heads, heads // kv_heads + 2, split, *rest)
    query, key, value = (
        np.ascontiguousarray(part).reshape(-1, *rest) for part in (grouped[:, :-2], grouped[:, -2], grouped[:, -1])
    )
    return [permute_rows(query, heads), permute_rows(key, kv_heads), value]
