"""Defects of files in quantised types: damaged rows, scales that are NaN or swapped, types other than declared."""

from __future__ import annotations

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.block_operations import damage_row, make_scale_nan, scale_head, swap_bytes_of_scales
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.targets import FIRST, GATE, LAYER, MLP_DOWN, UP
from pytest_aprqa.defects.tensor_operations import Operation, convert, in_every_layer, roll_rows, swap

DOWN = FIRST + MLP_DOWN
QUERY = "self_attn.q_proj.weight"


def _defect(
    format_name: str, base: str, name: str, gateway: str, title: str, operation: Operation, origin: str
) -> Defect:
    label = {"q8_0": "q8", "q4_k": "q4k", "q6_k": "q6k"}[base]
    return Defect(f"{format_name}-{label}-{name}", title, origin, format_name, gateway, operation, base=base)


def _of_every_type(format_name: str, base: str) -> tuple[Defect, ...]:
    """What can happen to blocks of any type."""
    kind = base.upper()
    return (
        _defect(
            format_name,
            base,
            "row-damaged",
            "I-4",
            f"one row of {kind} blocks is damaged, every value finite",
            damage_row(DOWN, 3),
            origins.BIT_ROT,
        ),
        _defect(
            format_name,
            base,
            "scale-nan",
            "G0",
            f"the scale of one {kind} block is NaN",
            make_scale_nan(UP),
            origins.NAN_BLOCKS,
        ),
        _defect(
            format_name,
            base,
            "scales-byte-swapped",
            "I-4",
            f"{kind} block scales have the other byte order",
            swap_bytes_of_scales(GATE),
            origins.BYTE_ORDER,
        ),
        _defect(
            format_name,
            base,
            "rows-shifted",
            "I-4",
            f"rows of a {kind} matrix are off by one",
            roll_rows(DOWN, 1),
            origins.EMBEDDING_ROWS,
        ),
        _defect(
            format_name,
            base,
            "head-scaled",
            "I-4",
            f"one attention head of {kind} blocks is scaled by 0.98",
            scale_head(FIRST + QUERY, 0.98),
            origins.HEAD_SCALED,
        ),
        _defect(
            format_name,
            base,
            "gate-and-up-swapped",
            "I-4",
            "gate and up projection are exchanged",
            swap(GATE, UP),
            origins.ROLES_MIXED,
        ),
    )


DEFECTS: tuple[Defect, ...] = (
    *_of_every_type("gguf", "q8_0"),
    *_of_every_type("gguf", "q4_k"),
    *_of_every_type("gguf", "q6_k"),
    *_of_every_type("apr", "q4_k"),
    _defect(
        "gguf",
        "q8_0",
        "wider-fallback",
        "I-3",
        "one matrix of a Q8_0 file is stored as F32",
        convert(DOWN, "F32"),
        origins.SILENT_FALLBACK,
    ),
    _defect(
        "gguf",
        "q8_0",
        "lower-fallback",
        "I-3",
        "the MLP of a Q8_0 file is stored as Q4_0",
        in_every_layer(LAYER + MLP_DOWN, lambda name: convert(name, "Q4_0")),
        origins.SILENT_FALLBACK,
    ),
    _defect(
        "gguf",
        "q4_k",
        "wider-fallback",
        "I-3",
        "one matrix of a Q4_K file is stored as F32",
        convert(DOWN, "F32"),
        origins.SILENT_FALLBACK,
    ),
    _defect(
        "gguf",
        "q6_k",
        "lower-fallback",
        "I-3",
        "the MLP of a Q6_K file is stored as Q4_0",
        in_every_layer(LAYER + MLP_DOWN, lambda name: convert(name, "Q4_0")),
        origins.SILENT_FALLBACK,
    ),
    _defect(
        "apr",
        "q4_k",
        "wider-fallback",
        "I-3",
        "one matrix of a Q4_K file is stored as F32",
        convert(DOWN, "F32"),
        origins.SILENT_FALLBACK,
    ),
)
