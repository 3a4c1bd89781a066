"""Decode every element type we understand to float32, and encode the ones we write, in vectorised numpy.

The block layouts are in `block_quants`, `k_quants` and `table_quants`; here large tensors are cut into bounded pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import block_encoders, block_quants, k_quants, table_quants
from pytest_aprqa.formats.blocks import BLOCKS, QUANTISED, element_count, tensor_nbytes

__all__ = ["BLOCKS", "DECODABLE", "ENCODABLE", "QUANTISED", "decode", "decode_pieces", "encode", "tensor_nbytes"]

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

_SCALARS: Final[dict[str, str]] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I8": "<i1",
    "I16": "<i2",
    "I32": "<i4",
    "I64": "<i8",
    "U8": "<u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
    "BOOL": "<u1",
}
_COMPLEX: Final = "C64"
_HALF_BITS: Final = np.int32(-0x70002000)  # sign, five bits of exponent and ten of mantissa, moved by 13
_HALF_EXPONENT: Final = np.float32(2.0**112)
_FEW_HALVES: Final = 1 << 12  # below, the calls take longer than the conversion
_BEYOND_HALF: Final = np.float32(1 << 16)  # what infinity and NaN become
_LARGEST: Final = block_encoders.LARGEST | {"APR_Q4": 7 * block_encoders.LARGEST_HALF, "APR_Q8": 3.4028235e38}
_DECODERS: Final = block_quants.DECODERS | k_quants.DECODERS | table_quants.DECODERS | {"F4": block_quants.decode_f4}
_FLOAT8: Final = frozenset({"F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"})
DECODABLE: Final = frozenset({*_SCALARS, *_FLOAT8, _COMPLEX, "BF16", "APR_Q8", *_DECODERS})
#: types that hold numbers, and why these cannot be told from the bytes
UNDEFINED: Final = dict.fromkeys(
    ("F6_E2M3", "F6_E3M2"), "the format leaves open how four elements share their three bytes"
)
ENCODABLE: Final = frozenset({*_SCALARS, "BF16", "APR_Q4", "APR_Q8", *block_encoders.ENCODERS})


def decode(dtype: str, raw: Bytes, shape: Sequence[int]) -> Floats:
    """RAW uint8 bytes of one tensor -> new float32 array of SHAPE; C64 -> [*SHAPE, 2], real and imaginary parts.

    ValueError when the type has no decoder here or when RAW is not exactly `tensor_nbytes(dtype, shape)` bytes.
    """
    shape = tuple(shape)
    check(dtype, raw, shape)
    pieces = list(_pieces(dtype, raw, shape, max(element_count(shape), 1)))
    flat = pieces[0] if len(pieces) == 1 else np.concatenate(pieces) if pieces else np.empty(0, np.float32)
    return flat.reshape(shape if dtype != _COMPLEX else (*shape, 2))


def decode_pieces(dtype: str, raw: Bytes, shape: Sequence[int], elements: int = 1 << 20) -> Iterator[Floats]:
    """RAW -> float32 pieces, flat, in row-major order, of at most about ELEMENTS values (never less than one block).

    The parts of C64 follow each other: real, imaginary, real, ...
    Memory stays bounded by the piece, whatever the size of the tensor. Errors as `decode`.
    """
    shape = tuple(shape)
    check(dtype, raw, shape)
    return _pieces(dtype, raw, shape, max(elements, 1))


def encode(dtype: str, values: NDArray[Any]) -> bytes:
    """VALUES -> bytes of DTYPE. Halves round to nearest even, overflow to infinity; Q8_0 is ggml's reference rule,
    the other block types are searched for the least squared error.

    ValueError: no encoder for the type, rows that do not fill whole blocks (APR_Q4 pads the last one), or values that a
    block scale cannot hold (NaN, infinite, too large for a binary16 scale).
    """
    if dtype == "BF16":
        return to_bfloat16(values).tobytes()
    if dtype in _SCALARS:
        with np.errstate(over="ignore", invalid="ignore"):
            return np.ascontiguousarray(values).astype(_SCALARS[dtype]).tobytes()
    if dtype not in ENCODABLE:
        raise ValueError(f"cannot encode {dtype}; encodable types are {', '.join(sorted(ENCODABLE))}")
    floats = np.ascontiguousarray(values, dtype=np.float32)
    limit = _LARGEST[dtype]
    if floats.size and not max(floats.max(), -floats.min()) <= limit:  # NaN compares as false
        raise ValueError(f"{dtype} holds finite values up to {limit:.0f} only: store the tensor as F32")
    if dtype == "APR_Q8":
        return block_quants.encode_apr_q8(floats.reshape(-1))
    flat = floats.reshape(-1)
    width = BLOCKS[dtype][0]
    if dtype == "APR_Q4":
        flat = np.concatenate([flat, np.zeros(-flat.size % width, np.float32)])
        return block_quants.encode_apr_q4(flat.reshape(-1, width), floats.size)
    if floats.size and floats.shape[-1] % width:
        raise ValueError(f"{dtype} needs rows of a multiple of {width} elements, found {floats.shape[-1]}")
    return block_encoders.encode_blocks(dtype, flat.reshape(-1, width)).tobytes()


def to_bfloat16(values: NDArray[Any]) -> NDArray[np.uint16]:
    """VALUES -> bfloat16 bit patterns, rounded to nearest even; NaN stays NaN (quiet)."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.where(nan, (bits >> np.uint32(16)) | np.uint32(0x40), rounded).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> Floats:
    """Bfloat16 bit patterns -> float32 of the same shape (exact)."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(16)
    return wide.view(np.float32)


def from_half(halves: NDArray[np.float16]) -> Floats:
    """Binary16 values -> float32 of the same shape (exact), four times faster than numpy's own conversion.

    The bits are moved into a float32 whose exponent is too small by 112, which one multiplication makes right, for
    subnormal values too; what is not finite is left to numpy.
    """
    if halves.size < _FEW_HALVES:
        return halves.astype(np.float32)
    bits = halves.view(np.int16).astype(np.int32)
    bits <<= 13
    bits &= _HALF_BITS
    values: Floats = bits.view(np.float32)
    values *= _HALF_EXPONENT
    if values.size and not (values.max() < _BEYOND_HALF and values.min() > -_BEYOND_HALF):
        return halves.astype(np.float32)
    return values


def check(dtype: str, raw: Bytes, shape: tuple[int, ...]) -> None:
    if dtype in UNDEFINED:
        raise ValueError(f"cannot decode {dtype}: {UNDEFINED[dtype]}")
    if dtype not in DECODABLE:
        raise ValueError(f"cannot decode {dtype}; decodable types are {', '.join(sorted(DECODABLE))}")
    expected = tensor_nbytes(dtype, shape)
    if raw.size != expected:
        raise ValueError(f"{dtype} of shape {list(shape)} takes {expected} bytes, found {raw.size}")


def _pieces(dtype: str, raw: Bytes, shape: tuple[int, ...], elements: int) -> Iterator[Floats]:
    if raw.size == 0:
        return
    if dtype == "APR_Q8":
        scale = raw[:4].view("<f4")[0]
        for start in range(4, raw.size, elements):
            codes = raw[start : start + elements].view(np.int8).astype(np.float32)
            with np.errstate(over="ignore", invalid="ignore"):
                piece = codes * scale
            yield piece
        return
    width, size = BLOCKS[dtype]
    if width == 1:
        step = elements * size
        for start in range(0, raw.size, step):
            yield _scalars(dtype, raw[start : start + step])
        return
    if width == 256 and len(shape) == 2 and shape[1] % width:
        yield from _padded_rows(dtype, raw, shape, elements)
        return
    blocks = raw.reshape(-1, size)
    step = max(elements // width, 1)
    left = element_count(shape)
    for start in range(0, blocks.shape[0], step):
        piece = _blocks(dtype, blocks[start : start + step]).reshape(-1)[:left]
        left -= piece.size
        yield piece


def _padded_rows(dtype: str, raw: Bytes, shape: tuple[int, ...], elements: int) -> Iterator[Floats]:
    size = BLOCKS[dtype][1]
    rows, columns = shape
    lines = raw.reshape(rows, -1)
    step = max(elements // columns, 1)
    for start in range(0, rows, step):
        part = lines[start : start + step]
        values = _blocks(dtype, part.reshape(-1, size)).reshape(part.shape[0], -1)
        yield np.ascontiguousarray(values[:, :columns]).reshape(-1)


def _blocks(dtype: str, blocks: Bytes) -> Floats:
    """Decode whole blocks; scales that are not finite give NaN without a warning, as they should."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _DECODERS[dtype](blocks)


def _scalars(dtype: str, raw: Bytes) -> Floats:
    if dtype == "BF16":
        return from_bfloat16(raw.view("<u2"))
    if dtype == "F16":
        return from_half(raw.view("<f2"))
    if dtype == _COMPLEX:
        return raw.view("<f4").copy()
    if dtype in _FLOAT8:
        return block_quants.float8_table(dtype)[raw]
    with np.errstate(over="ignore", invalid="ignore"):
        return raw.view(_SCALARS[dtype]).astype(np.float32)
