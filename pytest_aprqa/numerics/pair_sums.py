"""Everything that the gates ask of one matrix in two artifacts, from one pass over both: each side is decoded once.

Errors and energies of rows, products of the heads of a projection, the figures of the target's own values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import numpy

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.value_sums import ValueSums, from_patterns, sums_of_values
from pytest_aprqa.numerics.paired_pieces import even

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors

    Sums = NDArray[numpy.float64]

AT_ONCE: Final = 1 << 17  # values: smaller arrays stay in a second cache, but threads then wait for each other
_COMPILED_AT_ONCE: Final = 1 << 20  # the compiled loops cut pieces of their own: more only saves calls
_COMPARED: Final = 1 << 17  # bytes


@dataclass(slots=True)
class PairSums:
    """Sums over the rows of a matrix. `same`: equal bytes of one type, then nothing of the source was decoded.

    `errors` (y - x)^2, `energies` x^2, `own` y^2, each [rows], float64 over pieces that are summed in float32.
    `products`: x^2, x y, y^2 in float64, [3, rows, parts of a row], where they were asked for. `values`: the target's.
    """

    errors: Sums
    energies: Sums
    own: Sums
    products: Sums | None = None
    values: ValueSums = field(default_factory=ValueSums)
    same: bool = False


def pair_sums(
    source: CanonicalTensors, target: CanonicalTensors, name: str, segment: int = 0, *, compiled: bool = False
) -> PairSums:
    """Sums of matrix NAME, which has one shape [rows, columns] on both sides; bounded memory beside the rows.

    SEGMENT: values of a row in each of its `products`, which fill it; 0: no products. COMPILED: use the loops of the
    extra `fast` where it is installed. FormatError where a side cannot be decoded.
    """
    loops = compiled_loops() if compiled else None
    if source.entry(name).dtype == target.entry(name).dtype:
        sums = _equal(source, target, name, loops)
        if sums is not None:
            return sums
    return _summed(source, target, name, segment, loops)


@cache
def compiled_loops() -> ModuleType | None:
    """The compiled loops, where numba is installed."""
    try:
        return import_module("pytest_aprqa.formats.compiled_pairs")
    except ImportError:
        return None


class _Matrix:
    """One side: its blocks are stored bytes of whole rows where these are whole blocks of the type, else float32."""

    def __init__(self, tensors: CanonicalTensors, name: str) -> None:
        entry = tensors.entry(name)
        self.tensors, self.name, self.dtype = tensors, name, entry.dtype
        self.rows, self.columns = entry.shape
        self.width, size = BLOCKS.get(entry.dtype, (0, 0))
        self.row_bytes = self.columns // self.width * size if self.width else 0
        raw = tensors.stored(name)
        whole = bool(self.width) and not self.columns % self.width
        self.raw = raw if whole and raw is not None and raw.size == self.rows * self.row_bytes else None

    def blocks(self, step: int) -> Iterator[NDArray[Any]]:
        """STEP rows each. FormatError where the type has no decoder."""
        pieces = self.tensors.chunks(self.name, step * self.columns)
        if self.raw is None:
            yield from even(pieces, step * self.columns)
            return
        for start in range(0, self.rows, step):
            block = self.raw[start * self.row_bytes : (start + step) * self.row_bytes]
            yield block
            self.tensors.count_read(self.name, block.size)

    def values(self, block: NDArray[Any]) -> NDArray[numpy.float32]:
        """[rows, columns] of one of the blocks."""
        if block.dtype != numpy.uint8:
            return block.reshape(-1, self.columns)
        return codecs.decode(self.dtype, block, (block.size // self.row_bytes, self.columns))

    def side(self, block: NDArray[Any], loops: ModuleType) -> Any:
        """The block as the compiled loops take it."""
        if block.dtype == numpy.uint8 and self.dtype in loops.KINDS:
            side = loops.side(self.dtype, block)
            if side is not None:
                return side
        return loops.side("F32", numpy.ascontiguousarray(self.values(block)).reshape(-1).view(numpy.uint8))


def _equal(source: CanonicalTensors, target: CanonicalTensors, name: str, loops: ModuleType | None) -> PairSums | None:
    """The sums where both store the same bytes in the same order; None at the first that differs."""
    one, other = _Matrix(source, name), _Matrix(target, name)
    if one.raw is None or other.raw is None:
        return None
    total = _nothing(other.rows)
    total.same = True
    step, at = _step(other.columns, loops), 0
    for a, b in zip(one.blocks(step), other.blocks(step), strict=True):
        if not _same(a, b):
            return None
        _add_block(total, at, None, None, other, b, _Cut(other.width), loops)
        at += step
    return total


def _nothing(rows: int) -> PairSums:
    return PairSums(numpy.zeros(rows), numpy.zeros(rows), numpy.zeros(rows))


def _summed(
    source: CanonicalTensors, target: CanonicalTensors, name: str, segment: int, loops: ModuleType | None
) -> PairSums:
    """The sums of two matrices that differ."""
    one, other = _Matrix(source, name), _Matrix(target, name)
    total = _nothing(other.rows)
    if segment:
        total.products = numpy.zeros((3, other.rows, other.columns // segment))
    unit = math.lcm(one.width or 1, other.width or 1, segment if 0 < segment < other.columns else 1)
    cut = _Cut(unit, segment)
    if loops is not None and unit > loops.LONGEST:
        loops = None
    step, at = _step(other.columns, loops), 0
    for a, b in zip(one.blocks(step), other.blocks(step), strict=True):
        _add_block(total, at, one, a, other, b, cut, loops)
        at += step
    return total


@dataclass(frozen=True, slots=True)
class _Cut:
    """`unit`: values that the compiled loops may not part; `segment`: values of one product."""

    unit: int
    segment: int = 0


def _step(columns: int, loops: ModuleType | None) -> int:
    return max(1, (AT_ONCE if loops is None else _COMPILED_AT_ONCE) // max(columns, 1))


def _same(a: NDArray[numpy.uint8], b: NDArray[numpy.uint8]) -> bool:
    words = a.size // 8 * 8
    for at in range(0, words, _COMPARED):
        stop = min(at + _COMPARED, words)
        if not numpy.array_equal(a[at:stop].view(numpy.uint64), b[at:stop].view(numpy.uint64)):
            return False
    return bool(numpy.array_equal(a[words:], b[words:]))


def _add_block(
    total: PairSums,
    at: int,
    one: _Matrix | None,
    a: NDArray[Any] | None,
    other: _Matrix,
    b: NDArray[Any],
    cut: _Cut,
    loops: ModuleType | None,
) -> None:
    """Add rows AT and following: block A of the source (None: not asked for) and block B of the target."""
    if loops is not None:
        source = one.side(a, loops) if one is not None and a is not None else None
        if _add_compiled(total, at, source, other.side(b, loops), other.columns, cut, loops):
            return
    step = _step(other.columns, None)
    x, y = one.values(a) if one is not None and a is not None else None, other.values(b)
    for start in range(0, len(y), step):
        stop = start + step
        _add(total, at + start, None if x is None else x[start:stop], y[start:stop], cut.segment)


def _add_compiled(
    total: PairSums, at: int, source: Any, target: Any, columns: int, cut: _Cut, loops: ModuleType
) -> bool:
    """False where values are not finite, or the figures are not enough: then nothing was added."""
    count = min(len(total.own) - at, _step(columns, loops))
    piece = cut.unit * max(1, loops.PIECE // cut.unit)
    segment = cut.segment if source is not None else 0
    rows, products, figures = loops.rows_of(source, target, count, columns, piece, segment)
    *sums, odd = figures.tolist()
    values = from_patterns(count * columns, *sums) if not odd and numpy.isfinite(rows).all() else None
    if values is None:
        return False
    part = slice(at, at + count)
    total.errors[part], total.energies[part], total.own[part] = rows.T
    if segment and total.products is not None:
        total.products[:, part] = products
    total.values = total.values.merged(values)
    return True


def _add(total: PairSums, at: int, x: NDArray[numpy.float32] | None, y: NDArray[numpy.float32], segment: int) -> None:
    """In numpy. Sums within a row in float32, in float64 throughout where that overflows."""
    part = slice(at, at + len(y))
    with numpy.errstate(over="ignore", invalid="ignore"):
        own = _row_squares(y)
        if x is not None:
            errors, energies = _row_squares(y - x), _row_squares(x)
            if not (numpy.isfinite(errors).all() and numpy.isfinite(energies).all()):
                wide_x, wide_y = x.astype(numpy.float64), y.astype(numpy.float64)
                errors, energies = (numpy.square(one).sum(axis=1) for one in (wide_y - wide_x, wide_x))
            total.errors[part], total.energies[part] = errors, energies
            if segment and total.products is not None:
                total.products[:, part] = _products(x, y, segment)
        square = float(own.sum(dtype=numpy.float64))
        if not math.isfinite(square):
            own = numpy.square(y, dtype=numpy.float64).sum(axis=1)
    total.own[part] = own
    total.values = total.values.merged(sums_of_values(y, square if math.isfinite(square) else None))


def _row_squares(rows: NDArray[numpy.float32]) -> NDArray[Any]:
    """Sum of the squares of each row, float32."""
    return row_products(rows, rows)


def _products(x: NDArray[numpy.float32], y: NDArray[numpy.float32], segment: int) -> Sums:
    """x^2, x y and y^2 of each segment of each row in float64: [3, rows, segments]."""
    a, b = (one.astype(numpy.float64).reshape(-1, segment) for one in (x, y))
    return numpy.stack([row_products(p, q).reshape(len(x), -1) for p, q in ((a, a), (a, b), (b, b))])


def row_products(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    """Inner product of each row of X with that of Y, in their type."""
    if hasattr(numpy, "vecdot"):  # numpy 2
        return numpy.asarray(numpy.vecdot(x, y))
    return numpy.asarray(numpy.einsum("ij,ij->i", x, y))
