"""Playbook files as pytest modules. The only file that overrides private pytest names (`_getobj`)."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.conversions import CONVERSION_ARGUMENT, conversions_for
from pytest_aprqa.playbooks.blocks import is_configured, unrun_parts
from pytest_aprqa.target import TARGET_FIXTURE, targets_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_aprqa.playbooks.playbook import Playbook

PLAYBOOK_SUFFIXES = (".playbook.yaml", ".playbook.yml")
SUITE_MODULES = (
    "pytest_aprqa.suite.test_gateways",
    "pytest_aprqa.suite.test_integrity",
    "pytest_aprqa.suite.test_layout",
    "pytest_aprqa.suite.test_data_quality",
    "pytest_aprqa.suite.test_contract_invariants",
    "pytest_aprqa.suite.test_behaviour_parity",
    "pytest_aprqa.suite.test_answers",
    "pytest_aprqa.suite.test_modalities",
    "pytest_aprqa.suite.test_serving",
    "pytest_aprqa.suite.test_serving_load",
    "pytest_aprqa.suite.test_stability",
    "pytest_aprqa.suite.test_sampling",
    "pytest_aprqa.suite.test_logprobs",
    "pytest_aprqa.suite.test_edge_cases",
    "pytest_aprqa.suite.test_performance",
    "pytest_aprqa.suite.test_profile",
    "pytest_aprqa.suite.test_format_rules",
    "pytest_aprqa.suite.test_differential",
    "pytest_aprqa.suite.test_reference_statistics",
    "pytest_aprqa.suite.test_engine_differential",
    "pytest_aprqa.suite.test_trace_payload",
    "pytest_aprqa.suite.test_golden_corpus",
    "pytest_aprqa.suite.test_ollama_parity",
    "pytest_aprqa.suite.test_properties",
    "pytest_aprqa.suite.test_falsification_gates",
    "pytest_aprqa.suite.test_shutdown",
    "pytest_aprqa.suite.test_conversion",
    "pytest_aprqa.suite.test_provenance",
    "pytest_aprqa.suite.test_configured_blocks",
    "pytest_aprqa.suite.test_declared_skips",
)
BLOCK_ARGUMENT = BLOCK_MARK = "block"
SKIP_ARGUMENT = "declared_skip"
PROPERTY_ARGUMENT = "property_test"
CONDITION_ARGUMENTS = {"p0_condition": "P0", "p1_condition": "P1", "p2_condition": "P2"}
_NODES = pytest.StashKey[dict[Path, "PlaybookFile"]]()
_CHECKS = pytest.StashKey[dict[str, Any]]()
CHECKS_ENTRY_POINT = "pytest_aprqa.checks"


def is_playbook(path: Path) -> bool:
    """True for the file names that plain collection takes."""
    return path.name.endswith(PLAYBOOK_SUFFIXES)


class PlaybookFile(pytest.Module):
    """One playbook. Its module object holds the packaged checks, so its items are ordinary test functions."""

    playbook: Playbook

    @classmethod
    def of(cls, parent: pytest.Collector, path: Path) -> PlaybookFile:
        """The node of a file below PARENT; a file outside the root folder is identified by its name alone.

        pytest reads a folder again for each file named in it: without the memory, N files would make N x N nodes.
        """
        known = parent.stash.setdefault(_NODES, {})
        if path not in known:
            inside = path.is_relative_to(parent.config.rootpath)
            node_id = None if inside else path.name  # None: pytest makes it from the path
            known[path] = cls.from_parent(parent, path=path, nodeid=node_id)
        return known[path]

    def _getobj(self) -> ModuleType:
        return checks_namespace(self.config)

    def istestfunction(self, obj: object, name: str) -> bool:
        """A check of a block that the playbook does not configure is none here."""
        marks = getattr(obj, "pytestmark", ()) if name.startswith("test") else ()
        asked = all(is_configured(self.playbook, mark.args[0]) for mark in marks if mark.name == BLOCK_MARK)
        return asked and super().istestfunction(obj, name)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Load the playbook (a bad one is a collection error of one line), then collect the checks."""
        from pytest_aprqa.collection_memory import pause_cycle_search, playbook_of
        from pytest_aprqa.playbooks.errors import PlaybookError

        pause_cycle_search(self.config)
        try:
            self.playbook = playbook_of(self.config, self.path)
        except PlaybookError as error:
            raise self.CollectError(str(error)) from None
        from pytest_aprqa.options import option_or_ini

        if option_or_ini(self.config, "--falsify"):
            from pytest_aprqa.falsify.items import items_of

            return items_of(self)
        if option_or_ini(self.config, "--falsify-invariants"):
            from pytest_aprqa.falsify.invariants import invariant_items

            return invariant_items(self)
        return super().collect()


def file_of(item: pytest.Item) -> PlaybookFile | None:
    """The playbook that an item belongs to. Asked several times for each item: the usual parent is tried first."""
    parent = item.parent
    return parent if isinstance(parent, PlaybookFile) else item.getparent(PlaybookFile)


def checks_namespace(config: pytest.Config) -> ModuleType:
    """A fresh module object with the suite and the user's checks in it; later modules may not hide earlier names."""
    namespace = ModuleType("pytest_aprqa.suite.collected")
    namespace.__file__ = str(Path(__file__).parent / "suite" / "__init__.py")
    if _CHECKS not in config.stash:
        config.stash[_CHECKS] = _checks(config)
    checks: dict[str, Any] = config.stash[_CHECKS]
    vars(namespace).update(checks)
    return namespace


def _checks(config: pytest.Config) -> dict[str, Any]:
    """Everything that the modules of checks define, by name."""
    found: dict[str, Any] = {}
    for module in check_modules(config):
        _refuse_without_assertions(module, config)
        for name, value in vars(module).items():
            if name.startswith("__"):
                continue
            existing = found.get(name)
            if name.startswith("test") and existing is not None and existing is not value:
                raise pytest.UsageError(
                    f"check {name} of {module.__name__} hides the check of the same name in {existing.__module__};"
                    " rename it"
                )
            found[name] = value
    return found


def _refuse_without_assertions(module: ModuleType, config: pytest.Config) -> None:
    """UsageError under `python -O` where pytest did not rewrite the assertions: they are no code, all would pass."""
    rewriter: Any = config.pluginmanager.rewrite_hook
    if not __debug__ and getattr(module.__spec__, "loader", None) is not rewriter:
        raise pytest.UsageError(
            f"{module.__name__}: its assertions are left out by python -O (PYTHONOPTIMIZE), every check would pass;"
            " run without it, and without --assert=plain"
        )


def check_modules(config: pytest.Config) -> Iterator[ModuleType]:
    """The packaged modules, then those of the hook, of entry points, of the ini key and of `--aprqa-checks`."""
    for name in SUITE_MODULES:
        yield importlib.import_module(name)
    for modules in config.hook.pytest_aprqa_check_modules(config=config):
        for module in modules:
            yield _import_checks(module, config) if isinstance(module, str) else module
    from importlib.metadata import entry_points

    for entry_point in entry_points(group=CHECKS_ENTRY_POINT):
        yield entry_point.load()
    from pytest_aprqa.options import given

    command_line, ini = given(config, "--aprqa-checks")
    for name in [*(ini or []), *(command_line or [])]:
        yield _import_checks(name, config)


def _import_checks(name: str, config: pytest.Config) -> ModuleType:
    path = Path(name)
    if path.suffix == ".py":
        candidates = [path, config.rootpath / path]
        found = next((p.resolve() for p in candidates if p.is_file()), None)
        if found is None:
            raise pytest.UsageError(f"--aprqa-checks: no file {name}; looked at {', '.join(map(str, candidates))}")
        return _import_file(found, config)
    if "/" in name or os.sep in name:
        raise pytest.UsageError(f"--aprqa-checks: found {name!r}; give a file that ends in .py or the name of a module")
    try:
        pytest.register_assert_rewrite(name)
        return importlib.import_module(name)
    except ImportError as error:
        raise pytest.UsageError(f"--aprqa-checks: cannot import {name}: {error}") from None


def _import_file(path: Path, config: pytest.Config) -> ModuleType:
    """Import a file of checks under a name of its own, with pytest's assertion rewriting."""
    if path.stem in sys.modules and getattr(sys.modules[path.stem], "__file__", None) == str(path):
        return sys.modules[path.stem]
    if path.stem in sys.modules:
        raise pytest.UsageError(f"--aprqa-checks {path}: a module {path.stem} is imported already; rename the file")
    pytest.register_assert_rewrite(path.stem)
    hook: Any = config.pluginmanager.rewrite_hook
    find = getattr(hook, "find_spec", None)  # there is none with --assert=plain
    specification = find(path.stem, [str(path.parent)]) if find is not None else None
    if specification is None:
        specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[path.stem]
        raise pytest.UsageError(f"--aprqa-checks {path}: {type(error).__name__}: {error}") from None
    return module


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Spread a check of a playbook over its targets."""
    parent = file_of(metafunc.definition)
    if parent is None:
        return
    if BLOCK_ARGUMENT in metafunc.fixturenames:
        metafunc.parametrize(BLOCK_ARGUMENT, unrun_parts(parent.playbook))
        return
    if SKIP_ARGUMENT in metafunc.fixturenames:
        skips = parent.playbook.absent_parts
        metafunc.parametrize(SKIP_ARGUMENT, [str(skip) for skip in skips], ids=[skip.part for skip in skips])
        return
    if CONVERSION_ARGUMENT in metafunc.fixturenames:
        conversions = conversions_for(parent.playbook.matrix.formats)
        metafunc.parametrize(CONVERSION_ARGUMENT, conversions, ids=[one.name for one in conversions])
        return
    if PROPERTY_ARGUMENT in metafunc.fixturenames:
        from pytest_aprqa.playbooks.property_tests import property_tests

        properties = property_tests(parent.playbook.blocks.get("property_tests"))
        metafunc.parametrize(PROPERTY_ARGUMENT, properties, ids=[one.name.replace(" ", "-") for one in properties])
    for argument, severity in CONDITION_ARGUMENTS.items():
        if argument in metafunc.fixturenames:
            stated = parent.playbook.blocks.get("falsification_gates", ())
            conditions = [one for one in stated if one.get("severity", "P1") == severity]
            metafunc.parametrize(argument, conditions, ids=[str(one["id"]) for one in conditions])
    if TARGET_FIXTURE not in metafunc.fixturenames:
        return
    targets = targets_for(parent.playbook, metafunc.fixturenames)
    if len(targets) == 1 and not targets[0].id:
        return
    metafunc.parametrize(TARGET_FIXTURE, targets, ids=[t.id for t in targets], indirect=True)


def drop_empty_blocks(items: list[pytest.Item]) -> None:
    """Without further blocks or conversions there is no item (pytest makes one for an empty parameter set)."""
    items[:] = [item for item in items if file_of(item) is None or not _is_empty(item)]


def _is_empty(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    callspec = getattr(item, "callspec", None)
    given = callspec.params if callspec is not None else {}
    return any(
        argument in names and (argument not in given or type(given[argument]).__name__ == "NotSetType")
        for argument in (BLOCK_ARGUMENT, CONVERSION_ARGUMENT, SKIP_ARGUMENT, PROPERTY_ARGUMENT, *CONDITION_ARGUMENTS)
    )


def check_marks(items: list[pytest.Item]) -> None:
    """A wrong mark on a check is a usage error before anything runs."""
    from pytest_aprqa.marks import MarkError, claim_of

    for item in items:
        if file_of(item) is not None:
            try:
                claim_of(item)
            except MarkError as error:
                raise pytest.UsageError(str(error)) from None


def target_of(item: pytest.Item) -> Any:
    """The Target of an item, or None for checks of the whole playbook."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(TARGET_FIXTURE) if callspec is not None else None


def order_items(items: list[pytest.Item]) -> None:
    """Keep items that share an engine together: playbook, then format, backend, check, scenario; stable."""
    positions: dict[int, tuple[Any, ...]] = {}
    playbooks: dict[Path, int] = {}
    for index, item in enumerate(items):
        file = file_of(item)
        if file is None:
            positions[id(item)] = (-1, 0, 0, False, index)
            continue
        number = playbooks.setdefault(file.path, len(playbooks))
        matrix = file.playbook.matrix
        target = target_of(item)
        if target is None or target.format is None:
            # Checks of the whole playbook compare what the other items measured: they come last.
            positions[id(item)] = (number, len(matrix.formats), 0, False, index)
        else:
            backend = matrix.backends.index(target.backend) if target.backend else 0
            last = item.get_closest_marker("ends_engine") is not None
            positions[id(item)] = (number, matrix.formats.index(target.format), backend, last, index)
    items.sort(key=lambda item: positions[id(item)])
