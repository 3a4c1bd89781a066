"""Count, extremes, mean and spread of a tensor's stored values: one pass in cache-sized pieces, on all cores.

The order of values does not matter here, so K types are decoded in columns. Memory: a few pieces per thread.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, reduce
from importlib import import_module
from types import ModuleType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.blocks import BLOCKS, element_count
from pytest_aprqa.formats.column_decoders import COLUMN_DECODERS

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Values per piece: 512 KiB of float32, half of a usual second cache.
PIECE: Final = 1 << 17
#: The compiled loops work in rows of their own: larger pieces only save calls.
_COMPILED_PIECE: Final = 1 << 20
_ROW: Final = 1 << 12
_ONES: Final = np.ones(_ROW, np.float32)
#: Values that are worth a thread of their own.
_PER_THREAD: Final = 1 << 20
#: Below this share of the mean square the sum of squares loses digits: the deviations are summed instead.
_SPREAD: Final = 0.5
#: Values from which loading (the first time: compiling, about a second) the compiled loops pays.
_WORTH_COMPILING: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class ValueSums:
    """Of all values `count`, `nans`, `infinities`, `zeros`; of the finite ones the rest (float64).

    `squares` is the sum of squared deviations from the mean. Without finite values: minimum inf, maximum -inf, mean 0.
    """

    count: int = 0
    nans: int = 0
    infinities: int = 0
    zeros: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    @property
    def finite(self) -> int:
        """Number of finite values."""
        return self.count - self.nans - self.infinities

    @property
    def std(self) -> float:
        """Standard deviation of the finite values (of the whole tensor, not of a sample); 0 without any."""
        return math.sqrt(self.squares / self.finite) if self.finite else 0.0

    def merged(self, other: ValueSums) -> ValueSums:
        """The sums of both parts (Chan, Golub and LeVeque 1979)."""
        total = self.finite + other.finite
        share = other.finite / total if total else 0.0
        apart = other.mean - self.mean
        return ValueSums(
            count=self.count + other.count,
            nans=self.nans + other.nans,
            infinities=self.infinities + other.infinities,
            zeros=self.zeros + other.zeros,
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            mean=self.mean + apart * share,
            squares=self.squares + other.squares + apart * apart * self.finite * share,
        )


def sums_of(dtype: str, raw: Bytes, shape: Sequence[int], threads: int | None = None) -> ValueSums:
    """Sums over the tensor stored as RAW. ValueError as `codecs.decode`. THREADS: all cores unless told.

    With the extra `fast` (numba) large tensors go through compiled loops; the figures are the same.
    """
    shape = tuple(shape)
    codecs.check(dtype, raw, shape)
    count = element_count(shape)
    workers = min(threads or os.cpu_count() or 1, max(count // _PER_THREAD, 1))
    compiled = _compiled() if count >= _WORTH_COMPILING else None
    parts = list(_parts(dtype, raw, shape, workers))
    if len(parts) == 1:
        ((part, part_shape),) = parts
        return _sums_of_part(dtype, part, part_shape, compiled)
    with ThreadPoolExecutor(workers) as pool:
        sums = pool.map(lambda part: _sums_of_part(dtype, part[0], part[1], compiled), parts)
        return reduce(ValueSums.merged, sums, ValueSums())


def sums_of_values(values: Floats, square: float | None = None) -> ValueSums:
    """Sums over a float32 array of any shape. SQUARE: the sum of its squares, where it is known and finite."""
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size <= PIECE:
        return _sums_of_piece(flat, square)
    pieces = (flat[start : start + PIECE] for start in range(0, flat.size, PIECE))
    return reduce(ValueSums.merged, map(_sums_of_piece, pieces), ValueSums())


@cache
def _compiled() -> ModuleType | None:
    """The compiled loops, where numba is installed."""
    try:
        return import_module("pytest_aprqa.formats.compiled_sums")
    except ImportError:
        return None


def _parts(dtype: str, raw: Bytes, shape: tuple[int, ...], workers: int) -> Iterator[tuple[Bytes, tuple[int, ...]]]:
    """Cut a tensor into stretches of whole blocks, several per worker so that all end at about the same time."""
    elements, size = BLOCKS.get(dtype, (0, 0))
    count = element_count(shape)
    if workers == 1 or not elements or count % elements or (elements == 256 and shape[-1] % elements):
        yield raw, shape
        return
    step = max(count // elements // (workers * 4), 1)
    for start in range(0, count // elements, step):
        part = raw[start * size : (start + step) * size]
        yield part, (part.size // size * elements,)


def _sums_of_part(dtype: str, raw: Bytes, shape: tuple[int, ...], compiled: ModuleType | None = None) -> ValueSums:
    sums = ValueSums()
    if dtype == "BF16" and compiled is not None:
        patterns = raw.view("<u2")
        for start in range(0, patterns.size, _COMPILED_PIECE):
            sums = sums.merged(_from_bfloat16(patterns[start : start + _COMPILED_PIECE], compiled))
        return sums
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in _pieces(dtype, raw, shape, PIECE if compiled is None else _COMPILED_PIECE):
            sums = sums.merged(_sums_of_piece(piece) if compiled is None else _from_float32(piece, compiled))
    return sums


def _pieces(dtype: str, raw: Bytes, shape: tuple[int, ...], plain: int) -> Iterator[Floats]:
    """The values as flat float32 pieces, in any order; PLAIN values at a time where nothing is decoded."""
    if dtype == "F32":
        values = raw.view("<f4")
        yield from (values[start : start + plain] for start in range(0, values.size, plain))
        return
    decoder = COLUMN_DECODERS.get(dtype)
    if decoder is None or element_count(shape) % 256 or shape[-1] % 256:
        yield from codecs.decode_pieces(dtype, raw, shape, PIECE)
        return
    blocks = raw.reshape(-1, BLOCKS[dtype][1])
    step = PIECE // 256
    for start in range(0, blocks.shape[0], step):
        yield decoder(blocks[start : start + step]).reshape(-1)


def _sums_of_piece(values: Floats, square: float | None = None) -> ValueSums:
    """One pass for each figure, all of them in the cache; values that are not finite are taken out first."""
    count = values.size
    if not count:
        return ValueSums()
    least, most = float(values.min()), float(values.max())
    nans = infinities = 0
    if not (math.isfinite(least) and math.isfinite(most)):
        nans, infinities = int(np.isnan(values).sum()), int(np.isinf(values).sum())
        values, square = values[np.isfinite(values)], None
        least, most = (float(values.min()), float(values.max())) if values.size else (math.inf, -math.inf)
    zeros = int(np.count_nonzero(values == 0)) if least <= 0 <= most else 0
    mean, squares = _moments(values, square)
    return ValueSums(count, nans, infinities, zeros, least, most, mean, squares)


def _from_float32(values: Floats, compiled: ModuleType) -> ValueSums:
    return from_patterns(values.size, *compiled.float32_figures(values)) or _sums_of_piece(values)


def _from_bfloat16(patterns: NDArray[np.uint16], compiled: ModuleType) -> ValueSums:
    total, square, zeros, most, least = compiled.bfloat16_figures(patterns)
    sums = from_patterns(patterns.size, total, square, zeros, most, least, 16)
    return sums or _sums_of_piece(codecs.from_bfloat16(patterns))


def from_patterns(
    count: int, total: float, square: float, zeros: float, most: float, least: float, bits: int = 32
) -> ValueSums | None:
    """Sums of COUNT values from TOTAL, SQUARE (sum of squares), ZEROS and the largest pattern of BITS bits.

    MOST: as a signed, LEAST: as an unsigned number. None where these are not enough: one sign only, values not finite,
    a mean that hides the spread.
    """
    least -= 2.0 ** (bits - 1)
    mean = total / count
    squares = square - total * mean
    if most < 0 or least < 0 or not math.isfinite(squares) or squares <= _SPREAD * square:
        return None
    patterns = np.array([int(least) << 32 - bits | 1 << 31, int(most) << 32 - bits], np.uint32)
    low, high = (float(value) for value in patterns.view(np.float32))
    return ValueSums(count, 0, 0, int(zeros), low, high, mean, squares)


def _moments(values: Floats, known: float | None) -> tuple[float, float]:
    """Mean and sum of squared deviations. KNOWN: the sum of squares, where another has it."""
    if not values.size:
        return 0.0, 0.0
    total, square = _totals(values, known)
    mean = total / values.size
    squares = square - total * mean
    if math.isfinite(squares) and squares > _SPREAD * square:
        return mean, squares
    return _exact_moments(values)


def _totals(values: Floats, known: float | None) -> tuple[float, float]:
    """Sum and sum of squares: float32 within rows of 4096 values, float64 between rows."""
    whole = values.size // _ROW * _ROW
    rows, rest = values[:whole].reshape(-1, _ROW), values[whole:].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(_row_products(rows, _ONES).sum(dtype=np.float64)) + float(rest.sum())
        if known is not None:
            return total, known
        square = float(_row_products(rows, rows).sum(dtype=np.float64)) + float((rest * rest).sum())
    return total, square


def _row_products(rows: Floats, factors: Floats) -> Floats:
    """Inner product of each row; rows are short enough that no library starts threads of its own."""
    if hasattr(np, "vecdot"):  # numpy 2
        return np.asarray(np.vecdot(rows, factors), np.float32)
    return np.asarray(np.einsum("ij,ij->i", rows, np.broadcast_to(factors, rows.shape)), np.float32)


def _exact_moments(values: Floats) -> tuple[float, float]:
    """As `_moments` in float64 throughout: for a mean that is large against the spread, and very large values."""
    wide = values.astype(np.float64)
    mean = float(wide.mean())
    wide -= mean
    wide *= wide
    return mean, float(wide.sum())
