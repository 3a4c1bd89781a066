"""The weights of an artifact against those of its source: both files are read once, for all gates that ask about them.

One task a tensor, with the compiled loops on all cores; what is kept of a tensor is its verdict and a few figures.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary, ref

from pytest_aprqa.formats.read_ahead import Part, ReadAhead
from pytest_aprqa.formats.value_sums import ValueSums
from pytest_aprqa.suite.tensor_values import remember_norms, remember_values
from pytest_aprqa.suite.tied_head import with_head

if TYPE_CHECKING:
    from pytest_aprqa.formats.tensor_file import TensorFile
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.numerics.pair_sums import PairSums
    from pytest_aprqa.run_state import RunState

Tell = Callable[[str], None]
Problem = tuple[str, str, str, str]  # where, found, limit, cause
#: Limit, NMSE, problem; why a tensor cannot be tried; the error that ended its comparison.
Judgement = tuple[float, float, Problem | None] | str | Exception

CHECK: Final = "test_values_are_preserved"
#: Values from which loading the compiled loops (a second, the first time some more for compiling) pays.
WORTH_COMPILING: Final = 1 << 28
_AHEAD: Final = 256 << 20  # bytes of both files that are asked from the disk before they are needed
_TOLD_SECONDS: Final = 0.25


_JUDGED: WeakKeyDictionary[TensorFile, tuple[ref[TensorFile], dict[str, Judgement]]] = WeakKeyDictionary()


def judged_weights(
    reference: OpenArtifact, artifact: OpenArtifact, tell: Tell = lambda text: None
) -> dict[str, Judgement]:
    """Name -> judgement of each tensor of the source that the artifact has too, in the source's order.

    The figures of the artifact's own values are remembered on the way (`tensor_values`). TELL is told how far it is.
    """
    from pytest_aprqa.numerics.pair_sums import compiled_loops

    known = _JUDGED.get(artifact.file)
    if known is not None and known[0]() is reference.file:
        return known[1]
    reference = with_head(reference, artifact)
    present = set(artifact.tensors.names())
    names = [name for name in reference.tensors.names() if name in present]
    sizes = {name: math.prod(reference.tensors.entry(name).shape) for name in names}
    progress = _Progress(tell, artifact.file.path.name, sum(sizes.values()))
    compiled = sum(sizes.values()) >= WORTH_COMPILING
    kept = _Kept(artifact)
    if compiled:
        tell(
            f"weights of {artifact.file.path.name}: loading the compiled loops, compiled where this is their first use"
        )

    def judge(name: str) -> Judgement:
        try:
            return _judged(reference, artifact, name, kept, compiled)
        except Exception as error:  # raised again by the check that compares: others ask for figures only
            return error.with_traceback(None)
        finally:
            ahead.used(sum(size for _, _, size in _parts(reference, artifact, name)))
            progress.add(sizes[name])

    # Calls of numpy are so short that two threads lose more by handing over the interpreter's lock than they gain.
    threads = (os.cpu_count() or 1) if compiled and compiled_loops() is not None else 1
    largest_first = sorted(names, key=lambda name: -sizes[name])
    with _read_ahead(reference, artifact, largest_first) as ahead, ThreadPoolExecutor(threads) as pool:
        found = dict(zip(largest_first, pool.map(judge, largest_first), strict=True))
    kept.remember()
    judged = {name: found[name] for name in names}
    _JUDGED[artifact.file] = ref(reference.file), judged
    return judged


def read_beside_the_source(model: ModelUnderTest, artifact: OpenArtifact, state: RunState) -> None:
    """Judge the weights now, where a later check of this process compares them: what this check asks is then known."""
    if state.workers > 1 or not any(f"::{CHECK}[" in node for node in state.order):
        return
    try:
        source = model.opened_source()
        _ = (source.config, source.tensors, artifact.config, artifact.tensors)
    except (OSError, ValueError, RuntimeError):
        return  # a finding of the check that opens it
    if source.file.path != artifact.file.path:
        judged_weights(source, artifact, model.tell)


def _read_ahead(reference: OpenArtifact, artifact: OpenArtifact, names: Sequence[str]) -> ReadAhead:
    """The disk reads the tensors that come next; a map of a file asks only for a little more than what is looked at."""
    parts = (part for name in names for part in _parts(reference, artifact, name))
    return ReadAhead(parts, _AHEAD)


def _parts(reference: OpenArtifact, artifact: OpenArtifact, name: str) -> Iterator[Part]:
    """Where the bytes of a tensor lie in both."""
    for side in (reference, artifact):
        own = side.tensors.source_names(name)
        # One expert of a stack is a part of a stored tensor, what was split is several.
        entries = [side.tensors.entry(name)] if len(own) == 1 else [side.file.entries[part] for part in own]
        for part, entry in zip(own, entries, strict=True):
            yield side.file.file_of(part), entry.offset, entry.nbytes


class _Progress:
    """`weights of model.gguf: 34 %, 412 of 1195 million values`, not more often than it can be read."""

    def __init__(self, tell: Tell, name: str, total: int) -> None:
        self._tell, self._name, self._total = tell, name, total
        self._done, self._told = 0, time.monotonic()
        self._lock = threading.Lock()

    def add(self, values: int) -> None:
        with self._lock:
            self._done += values
            now = time.monotonic()
            if now - self._told < _TOLD_SECONDS:
                return
            self._told = now
            share, million = self._done / max(self._total, 1), 1e-6 * self._done
            # Within the lock: the note is one file, which two threads at once would empty.
            self._tell(f"weights of {self._name}: {share:.0%}, {million:.0f} of {self._total / 1e6:.0f} million values")


class _Kept:
    """Figures of the artifact's own values, gathered by all threads; experts that are stacked make one tensor."""

    def __init__(self, artifact: OpenArtifact) -> None:
        self._artifact = artifact
        self._sums: dict[str, ValueSums] = {}
        self._lock = threading.Lock()

    def add(self, name: str, sums: PairSums) -> None:
        remember_norms(self._artifact.file, name, sums.own)
        own = self._artifact.tensors.source_names(name)
        if len(own) == 1:
            with self._lock:
                self._sums[own[0]] = self._sums.get(own[0], ValueSums()).merged(sums.values)

    def remember(self) -> None:
        """Of the tensors of which every value was judged."""
        file = self._artifact.file
        for own, sums in self._sums.items():
            if sums.count == math.prod(file.entries[own].shape):
                remember_values(file, own, sums)


def _judged(reference: OpenArtifact, artifact: OpenArtifact, name: str, kept: _Kept, compiled: bool) -> Judgement:
    from pytest_aprqa.formats.errors import UndecodableType
    from pytest_aprqa.numerics.limits import LimitError
    from pytest_aprqa.suite.untried import why_untried
    from pytest_aprqa.suite.value_limits import value_limit

    try:
        limit = value_limit(reference, artifact, name, reference.config.architecture)
        sums = _sums(reference, artifact, name, compiled)
        if sums is not None:
            kept.add(name, sums)
        return limit, *_value_problem(reference, artifact, name, limit, sums)
    except (UndecodableType, LimitError) as error:
        return why_untried(error) or ""


def _sums(reference: OpenArtifact, artifact: OpenArtifact, name: str, compiled: bool) -> PairSums | None:
    """The sums of a matrix of one shape on both sides; None of any other tensor."""
    from pytest_aprqa.numerics.head_slopes import is_judged, segment_of
    from pytest_aprqa.numerics.pair_sums import pair_sums

    source, target = reference.tensors, artifact.tensors
    shape, stored = source.entry(name).shape, target.entry(name)
    if len(shape) != 2 or 0 in shape or shape != stored.shape:
        return None
    heads = segment_of(source, name, reference.config.head_dim) if is_judged(name, stored.dtype) else 0
    return pair_sums(source, target, name, heads, compiled=compiled)


def _value_problem(
    reference: OpenArtifact, artifact: OpenArtifact, name: str, limit: float, sums: PairSums | None
) -> tuple[float, Problem | None]:
    """(NMSE, None or where, found, limit, cause) of one tensor: first the bytes, then rows, then what explains it."""
    from pytest_aprqa.numerics.causes import cause_of
    from pytest_aprqa.numerics.paired_pieces import same_bytes, same_values
    from pytest_aprqa.numerics.tensor_error import compare_tensors
    from pytest_aprqa.suite.row_errors import OTHER_VALUES, matrix_error

    source, target = reference.tensors, artifact.tensors
    if sums.same if sums is not None else same_bytes(source, target, name):
        return 0.0, None
    if sums is not None:
        rows = matrix_error(source, target, name, limit, target.entry(name).dtype, sums)
        lost_in_float32 = rows.nmse == limit == 0 and not same_values(source, target, name)
        if rows.nmse <= limit and not rows.damaged and not lost_in_float32:
            return rows.nmse, _head_problem(reference, artifact, name, sums)
        if rows.damaged and rows.nmse <= limit:
            first = rows.damaged[0]
            part = f"part of the values changed: {len(rows.damaged)} rows; {first.cause}"
            if first.cause == OTHER_VALUES and len(rows.damaged) > 1:  # rows that changed places tell more
                seen = cause_of(source, target, compare_tensors(source, target, name))
                part = seen if "in another order" in seen else part
            where = f"{name}: row {first.row}"
            return rows.nmse, (where, f"NMSE {first.nmse:.3g}", f"NMSE {first.limit:.3g} a row", part)
    error = compare_tensors(source, target, name)
    if error.cause is not None:
        return error.nmse, (name, error.cause, "the source's shape", "another shape than the source's")
    if error.nmse <= limit:
        return error.nmse, None
    cause = cause_of(source, target, error)
    # A change of some rows may be the scale of one head, which says more.
    part_changed = cause.startswith("part of the values changed")
    head = _head_problem(reference, artifact, name, sums) if part_changed and sums is not None else None
    return error.nmse, head or (name, f"NMSE {error.nmse:.3g}", f"NMSE {limit:.3g}", cause)


def _head_problem(reference: OpenArtifact, artifact: OpenArtifact, name: str, sums: PairSums) -> Problem | None:
    """Where, found, limit, cause of the head of a projection whose scale is most unlike the others'; None: none is."""
    from pytest_aprqa.numerics.head_slopes import is_judged, scaled_heads

    if not is_judged(name, artifact.tensors.entry(name).dtype):
        return None
    heads = scaled_heads(reference.tensors, artifact.tensors, name, reference.config.head_dim, sums)
    if not heads:
        return None
    worst = heads[0]
    found, limit = f"slope {worst.slope:.4g}", f"{worst.expected:.4g} +- {worst.limit:.2g}"
    several = f"{len(heads)} heads are" if len(heads) > 1 else "one head is"
    cause = f"{several} scaled, head {worst.head} by about {worst.slope / worst.expected:.4g}"
    return f"{name}: head {worst.head}", found, limit, cause
