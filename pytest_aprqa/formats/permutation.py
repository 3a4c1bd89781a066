"""The row order of query and key projections in GGUF files of the Llama family, and its inverse.

Hugging Face rotates the two halves of a head; ggml's Llama code rotates adjacent pairs, so converters reorder the rows.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: architectures whose converter permutes q and k (ggml's `convert_hf_to_gguf.py`: the Llama model class and heirs).
PERMUTED_ARCHITECTURES: Final = frozenset(
    {"llama", "mistral", "mixtral", "deepseek", "granite", "smollm3", "arcee", "olmo"}
)


def permute_rows(array: NDArray[Any], n_heads: int) -> NDArray[Any]:
    """Hugging Face order -> GGUF Llama order: row i of a head's first half goes to 2i, of its second half to 2i + 1.

    ARRAY: weights [n_heads * head_dim, in] or a bias [n_heads * head_dim]. ValueError: rows do not split into heads.
    """
    return _reorder(array, n_heads, halves_first=True)


def unpermute_rows(array: NDArray[Any], n_heads: int) -> NDArray[Any]:
    """GGUF Llama order -> Hugging Face order: the inverse of `permute_rows`."""
    return _reorder(array, n_heads, halves_first=False)


def _reorder(array: NDArray[Any], n_heads: int, *, halves_first: bool) -> NDArray[Any]:
    if n_heads < 1 or array.ndim < 1 or array.shape[0] % (2 * n_heads):
        raise ValueError(f"{list(array.shape)} does not split into {n_heads} heads of even size")
    half = array.shape[0] // n_heads // 2
    split = (n_heads, 2, half) if halves_first else (n_heads, half, 2)
    grouped = array.reshape(*split, *array.shape[1:])
    return np.ascontiguousarray(grouped.swapaxes(1, 2)).reshape(array.shape)
