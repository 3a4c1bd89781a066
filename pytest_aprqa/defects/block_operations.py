"""Operations on the stored blocks of a quantised tensor: damaged rows, scales that are NaN or byte-swapped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.defects.declarations import head_counts
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import StoredTensor, Tensors, change_tensors, stored_name

Operation = Callable[[Path], None]
Bytes = NDArray[np.uint8]
NAN_F16 = (0x00, 0x7E)  # a quiet NaN in binary16, little endian


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """Bytes of one block: its size, places of the binary16 scale and (if it has one) minimum, the packed numbers."""

    size: int
    scale: int
    numbers: slice
    minimum: int | None = None


# ggml-common.h: block_q8_0, block_q4_0, block_q4_K, block_q5_K, block_q6_K.
BLOCK_LAYOUTS = {
    "Q8_0": BlockLayout(34, 0, slice(2, 34)),
    "Q4_0": BlockLayout(18, 0, slice(2, 18)),
    "Q4_K": BlockLayout(144, 0, slice(16, 144), 2),
    "Q5_K": BlockLayout(176, 0, slice(48, 176), 2),
    "Q6_K": BlockLayout(210, 208, slice(0, 128)),
}


def damage_row(name: str, row: int = 0) -> Operation:
    """Turn over bits of the packed numbers of one row; scales stay sound, so that every value is still finite."""

    def change(blocks: Bytes, layout: BlockLayout) -> None:
        blocks[row, :, layout.numbers] ^= 0x55

    return _on_blocks(name, "damage a row", change)


def make_scale_nan(name: str) -> Operation:
    """Make the scale of the middle block of the first row NaN."""

    def change(blocks: Bytes, layout: BlockLayout) -> None:
        blocks[0, blocks.shape[1] // 2, layout.scale : layout.scale + 2] = NAN_F16

    return _on_blocks(name, "NaN in a scale", change)


def swap_bytes_of_scales(name: str) -> Operation:
    """Swap the two bytes of every block scale, as a writer of the other byte order would."""

    def change(blocks: Bytes, layout: BlockLayout) -> None:
        low, high = layout.scale, layout.scale + 1
        blocks[:, :, [low, high]] = blocks[:, :, [high, low]]

    return _on_blocks(name, "byte-swapped scales", change)


def scale_head(name: str, factor: float, head: int = 1) -> Operation:
    """Multiply the scales of the blocks of one attention head: its rows, by the head counts of the file."""

    def apply(path: Path) -> None:
        heads, kv_heads = head_counts(path)
        count = heads if ".q_proj." in name else kv_heads

        def change(blocks: Bytes, layout: BlockLayout) -> None:
            rows = blocks.shape[0] // count
            part = slice(min(head, count - 1) * rows, (min(head, count - 1) + 1) * rows)
            for place in (layout.scale, layout.minimum):
                if place is not None:
                    stored = np.ascontiguousarray(blocks[part, :, place : place + 2]).view("<f2")
                    scaled = (stored.astype(np.float32) * np.float32(factor)).astype("<f2")
                    blocks[part, :, place : place + 2] = scaled.view(np.uint8)

        _on_blocks(name, "scale a head", change)(path)

    return apply


def _on_blocks(name: str, what: str, change: Callable[[Bytes, BlockLayout], None]) -> Operation:
    """`change` gets the bytes as [rows, blocks of a row, bytes of a block]."""

    def apply(path: Path) -> None:
        stored = stored_name(path, name)

        def rewrite(tensors: Tensors) -> Tensors:
            return {**tensors, stored: _changed(tensors[stored])}

        change_tensors(path, rewrite, holding=stored)

    def _changed(tensor: StoredTensor) -> StoredTensor:
        layout = BLOCK_LAYOUTS.get(tensor.dtype)
        if layout is None:
            raise DefectNotApplicableError(name, what, f"the tensor is not quantised in blocks but {tensor.dtype}")
        blocks = np.frombuffer(tensor.data, dtype=np.uint8).copy().reshape(tensor.shape[0], -1, layout.size)
        change(blocks, layout)
        return replace(tensor, data=blocks.tobytes())

    return apply
