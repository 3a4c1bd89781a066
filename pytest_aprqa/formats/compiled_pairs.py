"""Two stored matrices decoded and summed row by row in one compiled pass (numba, the extra `fast`).

Importing this module needs numba. Pieces of both sides stay in the first cache; nothing is written but sums.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

#: Sums may be reordered into vector lanes; NaN and infinity keep their meaning.
_FLAGS: Final = {"reassoc", "contract", "nsz", "arcp"}
#: Values decoded at once: both sides in 32 KiB.
PIECE: Final = 1 << 12
#: Longest segment (a head of a projection, whole blocks) that one piece may have to hold.
LONGEST: Final = 1 << 15

_F32, _F16, _BF16, _Q8_0, _Q4_0, _Q4_K, _Q5_K, _Q6_K = range(8)
#: Types with a decoder here; others are decoded before and given as F32.
KINDS: Final = {
    "F32": _F32,
    "F16": _F16,
    "BF16": _BF16,
    "Q8_0": _Q8_0,
    "Q4_0": _Q4_0,
    "Q4_K": _Q4_K,
    "Q5_K": _Q5_K,
    "Q6_K": _Q6_K,
}
_NOTHING: Final = np.empty(0, np.float32)
_NOTHING.flags.writeable = False


# Decoders follow ggml's reference code and its order of operations: results are those of `codecs` bit for bit. Loops
# over a block end at a size that the compiler does not know: it unrolls short ones of known length to single values.
@numba.njit(nogil=True, cache=True)
def _half(bits):  # type: ignore[no-untyped-def]
    """Binary16 pattern -> float32."""
    wide = np.uint32(bits)
    sign = (wide & np.uint32(0x8000)) << np.uint32(16)
    rest = wide & np.uint32(0x7FFF)
    if rest >= np.uint32(0x7C00):
        return np.uint32(sign | np.uint32(0x7F800000) | ((rest & np.uint32(0x3FF)) << np.uint32(13))).view(np.float32)
    value = np.uint32(rest << np.uint32(13)).view(np.float32) * np.float32(2.0**112)
    return -value if sign else value


@numba.njit(nogil=True, cache=True)
def _halves(words, at, out):  # type: ignore[no-untyped-def]
    """1 where a value is not finite."""
    part = words[at : at + out.size]
    largest = np.uint16(0)
    for i in range(out.size):
        largest = max(largest, np.uint16(part[i] & np.uint16(0x7FFF)))
    for i in range(out.size):
        word = np.uint32(part[i])
        bits = ((word & np.uint32(0x8000)) << np.uint32(16)) | ((word & np.uint32(0x7FFF)) << np.uint32(13))
        out[i] = np.uint32(bits).view(np.float32) * np.float32(2.0**112)
    return 1 if largest >= np.uint16(0x7C00) else 0


@numba.njit(nogil=True, cache=True)
def _eights(signed, words, at, out):  # type: ignore[no-untyped-def]
    for block in range(out.size // 32):
        number = at // 32 + block
        scale = _half(words[number * 17])
        codes, values = signed[number * 34 + 2 : number * 34 + 34], out[block * 32 : block * 32 + 32]
        for i in range(values.size):
            values[i] = np.float32(codes[i]) * scale


@numba.njit(nogil=True, cache=True)
def _fours(raw, words, at, out):  # type: ignore[no-untyped-def]
    for block in range(out.size // 32):
        number = at // 32 + block
        scale = _half(words[number * 9])
        codes = raw[number * 18 + 2 : number * 18 + 18]
        low, high = out[block * 32 : block * 32 + 16], out[block * 32 + 16 : block * 32 + 32]
        for i in range(low.size):
            low[i] = scale * (np.float32(np.uint8(codes[i] & np.uint8(15))) - np.float32(8))
        for i in range(high.size):
            high[i] = scale * (np.float32(np.uint8(codes[i] >> np.uint8(4))) - np.float32(8))


@numba.njit(nogil=True, cache=True)
def _k_affine(raw, words, at, out, fifth):  # type: ignore[no-untyped-def]
    """Q4_K; with FIFTH, a byte of 1, Q5_K."""
    size = 176 if fifth else 144
    codes_at = 48 if fifth else 16
    for block in range(out.size // 256):
        start = (at // 256 + block) * size
        whole, least = _half(words[start // 2]), _half(words[start // 2 + 1])
        packed, high = raw[start + 4 : start + 16], raw[start + 16 : start + 48]
        for group in range(8):
            if group < 4:
                scale, minimum = packed[group] & np.uint8(63), packed[group + 4] & np.uint8(63)
            else:
                both = packed[group + 4]
                scale = (both & np.uint8(15)) | ((packed[group - 4] >> np.uint8(6)) << np.uint8(4))
                minimum = (both >> np.uint8(4)) | ((packed[group] >> np.uint8(6)) << np.uint8(4))
            step, under = whole * np.float32(scale), least * np.float32(minimum)
            first = start + codes_at + group // 2 * 32
            codes, values = raw[first : first + 32], out[block * 256 + group * 32 : block * 256 + group * 32 + 32]
            shift = np.uint8(4 * (group % 2))
            if fifth:
                for i in range(values.size):
                    bit = ((high[i] >> np.uint8(group)) & fifth) << np.uint8(4)
                    values[i] = step * np.float32(np.uint8(((codes[i] >> shift) & np.uint8(15)) | bit)) - under
            else:
                for i in range(32):
                    values[i] = step * np.float32(np.uint8((codes[i] >> shift) & np.uint8(15))) - under


@numba.njit(nogil=True, cache=True)
def _sixes(raw, words, at, out):  # type: ignore[no-untyped-def]
    for block in range(out.size // 256):
        start = (at // 256 + block) * 210
        whole = _half(words[start // 2 + 104])
        for group in range(16):
            half, quarter = group // 8, group % 8 // 2
            step = whole * np.float32(np.int8(raw[start + 192 + group]))
            first = start + half * 64 + quarter % 2 * 32 + group % 2 * 16
            pairs = start + 128 + half * 32 + group % 2 * 16
            low, high = raw[first : first + 16], raw[pairs : pairs + 16]
            values = out[block * 256 + group * 16 : block * 256 + group * 16 + 16]
            shift, up = np.uint8(4 * (quarter // 2)), np.uint8(2 * quarter)
            for i in range(values.size):
                code = ((low[i] >> shift) & np.uint8(15)) | (((high[i] >> up) & np.uint8(3)) << np.uint8(4))
                values[i] = step * (np.float32(np.uint8(code)) - np.float32(32))


@numba.njit(nogil=True, cache=True)
def _decode(stored, at, out):  # type: ignore[no-untyped-def]
    """Values AT and following into OUT; 1 where one that is not finite may have been taken for a finite one."""
    kind, raw, signed, words, floats = stored
    if kind == _F32:
        part = floats[at : at + out.size]
        for i in range(out.size):
            out[i] = part[i]
    elif kind == _BF16:
        patterns = words[at : at + out.size]
        for i in range(out.size):
            out[i] = np.uint32(np.uint32(patterns[i]) << np.uint32(16)).view(np.float32)
    elif kind == _F16:
        return _halves(words, at, out)
    elif kind == _Q8_0:
        _eights(signed, words, at, out)
    elif kind == _Q4_0:
        _fours(raw, words, at, out)
    elif kind == _Q6_K:
        _sixes(raw, words, at, out)
    else:
        _k_affine(raw, words, at, out, np.uint8(1 if kind == _Q5_K else 0))
    return 0


# Extremes have loops of their own over the patterns of a piece: only so does the compiler use vectors.
@numba.njit(nogil=True, cache=True, fastmath=_FLAGS, error_model="numpy")
def _own(values, signed, unsigned, figures):  # type: ignore[no-untyped-def]
    """Add the figures of one piece; its sum of squares."""
    one, nothing = np.float32(1), np.float32(0)
    most, least = signed[0], unsigned[0]
    for i in range(signed.size):
        most = max(most, signed[i])
    for i in range(unsigned.size):
        least = max(least, unsigned[i])
    s = q = z = nothing
    for i in range(values.size):
        s += values[i]
        q += values[i] * values[i]
        z += one if values[i] == nothing else nothing
    figures[0] += float(s)
    figures[1] += float(q)
    figures[2] += float(z)
    figures[3], figures[4] = max(figures[3], float(most)), max(figures[4], float(least))
    return float(q)


@numba.njit(nogil=True, cache=True, fastmath=_FLAGS, error_model="numpy")
def _apart(x, y):  # type: ignore[no-untyped-def]
    """(sum of (y - x)^2, sum of x^2) of one piece."""
    d = e = np.float32(0)
    for i in range(x.size):
        difference = y[i] - x[i]
        d += difference * difference
        e += x[i] * x[i]
    return float(d), float(e)


@numba.njit(nogil=True, cache=True, fastmath=_FLAGS, error_model="numpy")
def _products(x, y):  # type: ignore[no-untyped-def]
    """Sums of x^2, x y and y^2 in float64."""
    xx = xy = yy = 0.0
    for i in range(x.size):
        a, b = np.float64(x[i]), np.float64(y[i])
        xx += a * a
        xy += a * b
        yy += b * b
    return xx, xy, yy


@numba.njit(nogil=True, cache=True)
def _rows(source, target, two, columns, piece, segment, rows, products, figures):  # type: ignore[no-untyped-def]
    """ROWS (rows, 3): errors, energies of the source, of the target; PRODUCTS (3, rows, segments of a row)."""
    x, y = np.empty(piece, np.float32), np.empty(piece, np.float32)
    signed, unsigned = y.view(np.int32), y.view(np.uint32)
    for row in range(rows.shape[0]):
        for start in range(0, columns, piece):
            size, at = min(piece, columns - start), row * columns + start
            figures[5] += _decode(target, at, y[:size])
            rows[row, 2] += _own(y[:size], signed[:size], unsigned[:size], figures)
            if not two:
                continue
            figures[5] += _decode(source, at, x[:size])
            error, energy = _apart(x[:size], y[:size])
            rows[row, 0] += error
            rows[row, 1] += energy
            step = min(segment, size)
            for part in range(0, size, step) if step else range(0):
                xx, xy, yy = _products(x[part : part + step], y[part : part + step])
                number = (start + part) // segment
                products[0, row, number] += xx
                products[1, row, number] += xy
                products[2, row, number] += yy


Side = tuple[int, NDArray[np.uint8], NDArray[np.int8], NDArray[np.uint16], NDArray[np.float32]]


def side(dtype: str, raw: NDArray[np.uint8]) -> Side | None:
    """What `rows_of` takes for the whole blocks RAW of a type of KINDS; None where its numbers lie at odd addresses."""
    width = 4 if dtype == "F32" else 2
    if raw.ctypes.data % width or raw.size % width:
        return None
    raw = raw.view()
    raw.flags.writeable = False  # maps are so: one compiled form for both
    floats = raw.view(np.float32) if dtype == "F32" else _NOTHING
    return KINDS[dtype], raw, raw.view(np.int8), raw.view(np.uint16), floats


def rows_of(
    source: Side | None, target: Side, count: int, columns: int, piece: int = PIECE, segment: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    """(rows [count, 3], products [3, count, segments], figures) of COUNT rows of COLUMNS values.

    `rows`: sums of (y - x)^2, x^2 and y^2 (without a source only the last), float32 within PIECE values, which are
    whole blocks and whole segments. `products`: x^2, x y, y^2 of SEGMENT values each in float64, none for 0.
    `figures` of the target: sum, sum of squares, zeros, largest pattern as int32 and as uint32, and more than 0 where a
    binary16 value of either side is not finite; others that are not finite make the sums so.
    """
    rows = np.zeros((count, 3))
    products = np.zeros((3, count, -(-columns // segment) if segment else 0))
    figures = np.array([0, 0, 0, -np.inf, -np.inf, 0], np.float64)
    _rows(source or target, target, source is not None, columns, piece, segment, rows, products, figures)
    return rows, products, figures
