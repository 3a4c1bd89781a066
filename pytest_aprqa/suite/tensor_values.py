"""What the values of one tensor are like, streamed in chunks so that memory stays bounded; each file is read once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_aprqa.formats.canonical import CanonicalTensors
    from pytest_aprqa.formats.tensor_file import TensorFile
    from pytest_aprqa.formats.value_sums import ValueSums

ENDS = ("model.embed_tokens.weight", "lm_head.weight")


@dataclass(slots=True)
class ValueCounts:
    """Numbers of values of a tensor by kind; sum of squares and range are those of the finite values."""

    total: int = 0
    nan: int = 0
    infinite: int = 0
    nonzero: int = 0
    squares: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf

    @property
    def zero_share(self) -> float:
        """Share of values that are zero, 0 to 1."""
        return 1 - self.nonzero / self.total if self.total else 0.0


@dataclass(frozen=True, slots=True)
class RowNorms:
    """Rows of a matrix: how many, how many are dead (norm not above `floor`), norms of the rows asked for."""

    rows: int
    dead: int
    sampled: dict[int, float]


_COUNTED: WeakKeyDictionary[TensorFile, dict[str, ValueCounts]] = WeakKeyDictionary()


def values_of(file: TensorFile, name: str) -> ValueCounts:
    """Counts of a tensor, under the file's own name; a second question about the same open file is not read again."""
    counted = _COUNTED.setdefault(file, {})
    if name not in counted:
        counted[name] = count_values(file, name)
    return counted[name]


def count_values(file: TensorFile, name: str) -> ValueCounts:
    """Count NaN, infinities and non-zero values of a tensor; sum of squares (float64) and range of the finite ones."""
    return _counts_of(file.sums(name))


def remember_values(file: TensorFile, name: str, sums: ValueSums) -> None:
    """Answer `values_of` from sums that another pass over all values of the tensor has found."""
    _COUNTED.setdefault(file, {}).setdefault(name, _counts_of(sums))


def _counts_of(sums: ValueSums) -> ValueCounts:
    return ValueCounts(
        total=sums.count,
        nan=sums.nans,
        infinite=sums.infinities,
        nonzero=sums.count - sums.zeros,
        squares=sums.squares + sums.finite * sums.mean**2,
        minimum=sums.minimum,
        maximum=sums.maximum,
    )


_NORMS: WeakKeyDictionary[TensorFile, dict[str, NDArray[Any]]] = WeakKeyDictionary()


def norms_of(tensors: CanonicalTensors, name: str) -> NDArray[Any]:
    """L2 norms [rows] of matrix NAME; of ENDS, a second question about the same open file is not read again."""
    known = _NORMS.setdefault(tensors.file, {})
    if name not in ENDS:
        return _norms(tensors, name)
    if name not in known:
        known[name] = _norms(tensors, name)
    return known[name]


def remember_norms(file: TensorFile, name: str, squares: NDArray[Any]) -> None:
    """Answer `norms_of` for one of ENDS from the sums of SQUARES [rows] that another pass has found."""
    if name in ENDS:
        _NORMS.setdefault(file, {})[name] = squares**0.5


def row_norms(norms: NDArray[Any], shares: tuple[float, ...], floor: float) -> RowNorms:
    """What NORMS [rows] tell; SHARES of the row count name the rows whose norms are wanted."""
    rows = len(norms)
    wanted = {min(rows - 1, int(rows * share)) for share in shares}
    return RowNorms(rows, int((~(norms > floor)).sum()), {row: float(norms[row]) for row in sorted(wanted)})


def _norms(tensors: CanonicalTensors, name: str) -> NDArray[Any]:
    import numpy

    rows, columns = tensors.entry(name).shape
    norms = numpy.zeros(rows, numpy.float64)
    step = max(1, (1 << 16) // max(columns, 1)) * columns
    flat = 0
    for chunk in tensors.chunks(name, step):
        # A piece may end inside a row: sums are added where its values belong.
        squares = numpy.square(chunk.astype(numpy.float64))
        first, last = flat // columns, (flat + chunk.size - 1) // columns
        starts = numpy.maximum(numpy.arange(first, last + 1) * columns - flat, 0)
        norms[first : last + 1] += numpy.add.reduceat(squares, starts)
        flat += chunk.size
    return numpy.sqrt(norms)
