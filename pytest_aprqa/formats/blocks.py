"""Sizes: how many bytes a tensor of a given dtype and shape takes, for scalars and for every ggml block type.

The table is the one of ggml (`ggml.c` type traits), extended by the SafeTensors scalars and the two native APR types.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_ELEMENTS: Final = 2**63 - 1

#: dtype -> (elements per block, bytes per block). APR_Q8 is not here: it is one f32 scale, then a byte per element.
BLOCKS: Final[dict[str, tuple[int, int]]] = {
    "F64": (1, 8),
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "F8_E4M3": (1, 1),
    "F8_E5M2": (1, 1),
    "F8_E4M3FNUZ": (1, 1),
    "F8_E5M2FNUZ": (1, 1),
    "F8_E8M0": (1, 1),
    "F6_E2M3": (4, 3),
    "F6_E3M2": (4, 3),
    "F4": (2, 1),
    "C64": (1, 8),
    "I8": (1, 1),
    "I16": (1, 2),
    "I32": (1, 4),
    "I64": (1, 8),
    "U8": (1, 1),
    "U16": (1, 2),
    "U32": (1, 4),
    "U64": (1, 8),
    "BOOL": (1, 1),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q8_1": (32, 36),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "Q8_K": (256, 292),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ3_XXS": (256, 98),
    "IQ1_S": (256, 50),
    "IQ4_NL": (32, 18),
    "IQ3_S": (256, 110),
    "IQ2_S": (256, 82),
    "IQ4_XS": (256, 136),
    "IQ1_M": (256, 56),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
    "Q2_0": (64, 18),
    "APR_Q4": (32, 18),
}

#: Types stored in blocks of several elements (or, APR_Q8, under one scale): lossy, not readable one by one.
QUANTISED: Final = frozenset({name for name, (elements, _) in BLOCKS.items() if elements > 1} | {"APR_Q8"})


def element_count(shape: Sequence[int]) -> int:
    """Number of elements of SHAPE (exact Python integer, so it cannot wrap; 1 for a scalar)."""
    count = 1
    for size in shape:
        count *= size
    return count


def tensor_nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor of DTYPE and row-major SHAPE. KeyError for an unknown dtype.

    Matrices of 256-element block types are padded row by row, all other tensors flat: the rule of APR v2. GGUF only
    holds rows of whole blocks, where both rules agree.
    """
    count = element_count(shape)
    if dtype == "APR_Q8":
        return 4 + count if count else 0
    elements, size = BLOCKS[dtype]
    if elements == 256 and len(shape) == 2:
        return shape[0] * -(-shape[1] // elements) * size
    return -(-count // elements) * size
