"""The two number tables of GGUF: metadata value types and tensor (ggml) types, by the names we use everywhere.

Source: ggml's `gguf.h` and `ggml.h`; ids that ggml removed are listed so that the error can say so.
"""

from __future__ import annotations

from typing import Final

#: value type id -> (name, struct code, bytes); strings and arrays have no fixed size.
SCALAR_VALUES: Final[dict[int, tuple[str, str, int]]] = {
    0: ("uint8", "B", 1),
    1: ("int8", "b", 1),
    2: ("uint16", "H", 2),
    3: ("int16", "h", 2),
    4: ("uint32", "I", 4),
    5: ("int32", "i", 4),
    6: ("float32", "f", 4),
    7: ("bool", "B", 1),
    10: ("uint64", "Q", 8),
    11: ("int64", "q", 8),
    12: ("float64", "d", 8),
}
STRING_VALUE: Final = 8
ARRAY_VALUE: Final = 9
VALUE_TYPE_IDS: Final[dict[str, int]] = {name: key for key, (name, _, _) in SCALAR_VALUES.items()} | {
    "string": STRING_VALUE
}
#: Every type name that `write_gguf` takes and `GgufFile.value_types` gives: scalars, "string", "array[...]".
VALUE_TYPE_NAMES: Final = frozenset(VALUE_TYPE_IDS) | {f"array[{name}]" for name in VALUE_TYPE_IDS}

TENSOR_TYPES: Final[dict[int, str]] = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    6: "Q5_0",
    7: "Q5_1",
    8: "Q8_0",
    9: "Q8_1",
    10: "Q2_K",
    11: "Q3_K",
    12: "Q4_K",
    13: "Q5_K",
    14: "Q6_K",
    15: "Q8_K",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    24: "I8",
    25: "I16",
    26: "I32",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
    42: "Q2_0",
}
TENSOR_TYPE_IDS: Final[dict[str, int]] = {name: key for key, name in TENSOR_TYPES.items()}
REMOVED_TENSOR_TYPES: Final[dict[int, str]] = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}
