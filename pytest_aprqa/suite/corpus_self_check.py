"""Does the comparison bite? Each golden answer against itself and against seeded faults of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_aprqa.suite.corpus_parity import Level, compare

if TYPE_CHECKING:
    from pytest_aprqa.suite.golden_corpus import Golden

SCALE, SHIFT_BOUNDS, ONE_IN = 2.0, 4.0, 8  # more than the loosest level forgives


def self_check(golden: Golden, level: Level) -> Iterator[tuple[str, bool]]:
    """(what was tried, whether the comparison said what it must) of one golden answer at one level."""
    yield "itself", compare(golden.logits, golden.logits.copy(), level).passed
    for name, fault in FAULTS.items():
        yield name, not compare(golden.logits, fault(golden.logits, level), level).passed


def _scaled(logits: Any, level: Level) -> Any:
    return logits * SCALE


def _shifted(logits: Any, level: Level) -> Any:
    return logits + SHIFT_BOUNDS * level.bound(float(abs(logits).max()))


def _reversed(logits: Any, level: Level) -> Any:
    return logits[:, ::-1].copy()


def _zero(logits: Any, level: Level) -> Any:
    return logits * 0


def _one_nan(logits: Any, level: Level) -> Any:
    broken = logits.copy()
    broken[0, 0] = float("nan")
    return broken


def _some_wrong(logits: Any, level: Level) -> Any:
    """One logit in ONE_IN is out of the bound: more than any level allows."""
    broken = logits.copy()
    broken[:, ::ONE_IN] += 2 * level.bound(float(abs(logits).max()))
    return broken


def _short(logits: Any, level: Level) -> Any:
    return logits[:, :-1]


FAULTS: dict[str, Callable[[Any, Level], Any]] = {
    "scaled": _scaled,
    "shifted": _shifted,
    "reversed vocabulary": _reversed,
    "all zero": _zero,
    "one NaN": _one_nan,
    "one in eight wrong": _some_wrong,
    "one column short": _short,
}
