"""Runs the suite's own test functions on one broken or clean copy, through pytest's fixtures and hooks."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.collection import PlaybookFile, drop_empty_blocks, target_of
from pytest_aprqa.conversions import CONVERSION_ARGUMENT, Conversion
from pytest_aprqa.engine_pool import EnginePool
from pytest_aprqa.item_evidence import EVIDENCE_PROPERTY
from pytest_aprqa.marks import claim_of
from pytest_aprqa.model_under_test import ModelUnderTest
from pytest_aprqa.run_state import RUN_STATE, RunState

if TYPE_CHECKING:
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.models.artifact import Artifact
    from pytest_aprqa.playbooks.playbook import Playbook

NOT_REFUTED = ("Corroborated", "Skipped")
POOL: pytest.StashKey[RestingPool] = pytest.StashKey()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one check of the suite said about the copy."""

    gate: str
    check: str
    outcome: str
    cause: str
    observed: list[dict[str, Any]]

    @property
    def refuted(self) -> bool:
        """True when the check ended as Falsified, Crashed or Timeout."""
        return self.outcome not in NOT_REFUTED


class CopyFile(PlaybookFile):
    """The suite over one copy. A child of the item that judges the copy, so that pytest's setup stack holds both."""

    @classmethod
    def below(cls, item: pytest.Item, playbook: Playbook) -> CopyFile:
        """The node below `item` for a playbook that exists in memory only."""
        label = item.nodeid.replace("[", "::").removesuffix("]")  # only an id without parameters may have children
        file = cls.from_parent(item, path=item.path, nodeid=label)
        file.playbook = playbook
        return file

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """The checks; there is no playbook file to load."""
        return super(PlaybookFile, self).collect()


class RestingPool(EnginePool):
    """A pool that keeps the child of an engine that ended in health: the next copy is loaded into it."""

    def rest(self) -> None:
        """Forget the answers and failures of a copy; its engine's child, if sound, waits for the next one."""
        self._end_current()
        self._failures.clear()
        self._answers.clear()

    def _host(self, name: str) -> EngineHost:
        host = super()._host(name)
        self._last_host = (name, host)
        return host

    def _end_current(self) -> None:
        engine = self._current[1] if self._current is not None else None
        # A child that was started again, or that serves over HTTP, is not taken over.
        sound = engine is not None and engine.lost is None and engine.loads == 1 and engine._url is None
        if engine is not None and sound and self._spare is None and engine.host is self._last_host[1]:
            self._spare = self._last_host
            self._current = None
        super()._end_current()


class CopyState(RunState):
    """The state of the checks on one copy: its own model and answers, the engines of the whole run."""

    def __init__(self, outer: RunState, model: ModelUnderTest, *, own_engines: bool) -> None:
        super().__init__(outer.config, outer.shared, outer.worker, outer.workers)
        self._models = {model.playbook.path: model}
        if own_engines:
            self._pool = EnginePool(self.report_progress, self.workers)
            return
        if POOL not in outer.config.stash:
            outer.config.stash[POOL] = RestingPool(self.report_progress, self.workers)
        self._pool = outer.config.stash[POOL]

    def close(self) -> None:
        """Close files and forget answers; the engine's child goes on, unless it is the state's own."""
        if isinstance(self._pool, RestingPool):
            self._pool.rest()
        elif self._pool is not None:
            self._pool.close()
        for model in self._models.values():
            model.close()


class CopyModel(ModelUnderTest):
    """A copy whose file of one format passes for one that our own converter made."""

    derived: str | None = None

    def _find_or_derive(self, format_name: str) -> Artifact:
        found = super()._find_or_derive(format_name)
        return dataclasses.replace(found, origin="derived") if format_name == self.derived else found


def attempts(
    item: pytest.Item,
    model: ModelUnderTest,
    formats: Iterable[str],
    *,
    before_engine: Callable[[], bool],
    gates: Collection[str] | None = None,
    conversions: bool = False,
    first: Collection[str] = (),
) -> Generator[Attempt, None, None]:
    """Run the checks of `formats` on `model` below `item`, one by one, those without an engine first.

    `before_engine` is asked before each check that loads the model; where it says False, the rest is left out.
    `gates` names the only gates to try, with engines that no other copy uses; `conversions` adds the conversion edges.
    `first` are patterns of gates: of the checks with an engine, theirs go before the others.
    """
    config = item.config
    outer = config.stash[RUN_STATE]
    state = CopyState(outer, model, own_engines=gates is not None)
    config.stash[RUN_STATE] = state
    try:
        checks = _checks_below(item, model.playbook, set(formats), conversions=conversions, asked=gates or ())
        checks.sort(key=lambda check: needs_engine(check) and not _is_of(check, first))
        if gates is not None:
            checks = [check for check in checks if claim_of(check).gate_id in gates]
        state.remember_selection(checks)
        for check in checks:
            if needs_engine(check) and not before_engine():
                return
            yield _run(check, item)
    finally:
        config.stash[RUN_STATE] = outer
        state.close()


def _is_of(check: pytest.Item, gates: Collection[str]) -> bool:
    gate = claim_of(check).gate_id.replace("{category}", "A1")
    return any(fnmatchcase(gate, pattern) for pattern in gates)


def needs_engine(check: pytest.Item) -> bool:
    """True for a check that loads the model into an engine."""
    return "engine" in getattr(check, "fixturenames", ())


def _checks_below(
    item: pytest.Item, playbook: Playbook, formats: set[str], *, conversions: bool, asked: Collection[str]
) -> list[pytest.Item]:
    """The suite's checks of `formats`, by cost; checks of the whole playbook only where their gate is `asked` for.

    Conversions start from a copy and judge our converters: where `conversions` asks for them, those without a
    quantisation are kept.
    """
    found = list(_items_of(CopyFile.below(item, playbook)))
    drop_empty_blocks(found)
    kept = []
    for check in found:
        target = target_of(check)
        if target is None:
            conversion = _conversion_of(check)
            if conversion is None:
                wanted = claim_of(check).gate_id in asked
            else:
                wanted = conversions and conversion.dtype == "native"
            if wanted:
                kept.append(check)
        elif target.format in formats:
            kept.append(check)
    return sorted(kept, key=needs_engine)


def _conversion_of(check: pytest.Item) -> Conversion | None:
    callspec = getattr(check, "callspec", None)
    conversion = callspec.params.get(CONVERSION_ARGUMENT) if callspec is not None else None
    return conversion if isinstance(conversion, Conversion) else None


def _items_of(node: pytest.Collector) -> Iterator[pytest.Item]:
    for child in node.collect():
        if isinstance(child, pytest.Item):
            yield child
        else:
            yield from _items_of(child)


def _run(check: pytest.Item, item: pytest.Item) -> Attempt:
    """Set up, call and tear down one check with the public hooks, down to `item`; the evidence that came of it."""
    reports = [_phase(check, "setup")]
    if reports[0].passed:
        reports.append(_phase(check, "call"))
    reports.append(_phase(check, "teardown", nextitem=item))
    found = [
        json.loads(str(value))
        for report in reports
        for name, value in report.user_properties
        if name == EVIDENCE_PROPERTY
    ]
    if not found:
        return Attempt("none", check.name, "Skipped", "the check left no evidence", [])
    evidence = next((e for e in found if e["outcome"] not in NOT_REFUTED), found[0])
    return Attempt(
        evidence["gate_id"],
        check.nodeid.rsplit("::", 1)[-1],
        evidence["outcome"],
        evidence["reason"],
        [value for value in evidence["observed"] if value.get("passed") is False],
    )


def _phase(check: pytest.Item, when: Any, **keywords: Any) -> pytest.TestReport:
    hook = getattr(check.ihook, f"pytest_runtest_{when}")
    call = pytest.CallInfo.from_call(
        functools.partial(hook, item=check, **keywords),
        when=when,
        reraise=(pytest.exit.Exception, KeyboardInterrupt),
    )
    report: pytest.TestReport = check.ihook.pytest_runtest_makereport(item=check, call=call)
    return report


def settings_for(settings: Any, timeout_ms: int, against: Path | None) -> Any:
    """The run's settings without what would lead away from the copy: other places, other engines, tiers."""
    return dataclasses.replace(
        settings,
        model_path=None,
        model_cache=None,
        against=against,
        apr_binary=None,
        engine=("torch",),
        engine_url=None,
        plugins=(),
        no_gpu=True,
        tier=None,
        timeout_ms=timeout_ms,
        sources={},
    )
