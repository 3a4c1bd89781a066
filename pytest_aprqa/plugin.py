"""The pytest face: hooks only. What they do is in the modules that they call; nothing heavy is imported at start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.fixtures import *  # noqa: F403  (fixtures are found by name in a plugin module)
from pytest_aprqa.options import add_options
from pytest_aprqa.run_state import RUN_STATE, RunState

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_aprqa.recorder import Recorder

pytest.register_assert_rewrite("pytest_aprqa.suite", "pytest_aprqa.engine_contract")

RECORDER_NAME = "aprqa-recorder"
WORKER_INPUT = "aprqa"
POLICY_NAME = "aprqa-failure-policy"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register options and ini keys."""
    add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Register the hooks of hookspecs.py."""
    from pytest_aprqa import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Register marks, find the playbooks of `--playbook`, and make the state of this process."""
    from pytest_aprqa.marks import MARK_LINES

    for line in MARK_LINES:
        config.addinivalue_line("markers", line)
    from pytest_aprqa.requested_playbooks import add_to_arguments

    add_to_arguments(config)
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        from pathlib import Path

        note = worker[WORKER_INPUT]
        shared = Path(note["shared"]) if note["shared"] else None
        state = RunState(config, shared, worker["workerid"], worker["workercount"])
        config.stash[RUN_STATE] = state
        config.pluginmanager.register(FailurePolicyHooks(state), POLICY_NAME)
        _register_run_part(config)
        return
    recorder = _make_recorder(config)
    config.pluginmanager.register(recorder, RECORDER_NAME)
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(XdistHooks(recorder), "aprqa-xdist")
    config.stash[RUN_STATE] = RunState(config, recorder.shared, "main", 1)
    config.pluginmanager.register(FailurePolicyHooks(config.stash[RUN_STATE]), POLICY_NAME)
    _register_run_part(config)


def _register_run_part(config: pytest.Config) -> None:
    """Shards and resumed runs. UsageError with seeded defects, which have no evidence of a model to join."""
    from pytest_aprqa.options import option_or_ini
    from pytest_aprqa.run_part_hooks import RunPartHooks

    parts = [flag for flag in ("--shard", "--resume") if option_or_ini(config, flag)]
    gates = [flag for flag in ("--falsify", "--falsify-invariants") if option_or_ini(config, flag)]
    if parts and gates:
        raise pytest.UsageError(f"{parts[0]} does not go with {gates[0]}: leave one of them out")
    if not gates:
        config.pluginmanager.register(RunPartHooks(config.stash[RUN_STATE]), "aprqa-run-part")


def _make_recorder(config: pytest.Config) -> Recorder:
    from pytest_aprqa.options import option_or_ini

    if option_or_ini(config, "--falsify"):
        from pytest_aprqa.falsify.recorder import FalsifyRecorder

        return FalsifyRecorder(config)
    if option_or_ini(config, "--falsify-invariants"):
        from pytest_aprqa.falsify.invariants_recorder import InvariantsRecorder

        return InvariantsRecorder(config)
    from pytest_aprqa.recorder import Recorder

    return Recorder(config)


class XdistHooks:
    """Hooks that exist only when pytest-xdist is installed."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Items that share an engine go to one worker; a session without named playbooks is none of our business."""
        from pytest_aprqa.options import option_or_ini

        if self._recorder.folder is None or option_or_ini(config, "--falsify"):
            return None  # seeded defects share nothing: any worker may take any
        from pytest_aprqa.scheduling import make_scheduler

        return make_scheduler(config, log)

    def pytest_configure_node(self, node: Any) -> None:
        """Tell the worker where the run's shared folder is."""
        node.workerinput[WORKER_INPUT] = {"shared": str(self._recorder.shared)}


def pytest_unconfigure(config: pytest.Config) -> None:
    """End engines, close files, remove temporary folders."""
    if RUN_STATE in config.stash:
        config.stash[RUN_STATE].close()
    recorder: Any = config.pluginmanager.getplugin(RECORDER_NAME)
    if recorder is not None:
        config.pluginmanager.unregister(recorder)
        recorder.close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """On the controller: know before the first item that playbooks, models and the evidence folder are usable."""
    recorder: Any = session.config.pluginmanager.getplugin(RECORDER_NAME)
    if recorder is not None:
        from pytest_aprqa.requested_playbooks import check_before_run

        check_before_run(session.config, recorder)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Wrong use that is seen only while collecting leaves no evidence folder behind; an early end is remembered."""
    recorder: Any = session.config.pluginmanager.getplugin(RECORDER_NAME)
    if recorder is None:
        return
    recorder.note_end(session)
    if exitstatus == pytest.ExitCode.USAGE_ERROR:
        recorder.withdraw_folder()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect `*.playbook.yaml`, and the file that `--playbook` names whatever it is called."""
    from pytest_aprqa.collection import PlaybookFile, is_playbook
    from pytest_aprqa.requested_playbooks import is_requested

    if is_playbook(file_path):
        return PlaybookFile.of(parent, file_path)
    if not is_requested(parent.config, file_path):
        return None
    from pytest_aprqa.requested_playbooks import collector_of

    return collector_of(parent, file_path)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Spread the checks of a playbook over its targets."""
    from pytest_aprqa.collection import parametrize

    parametrize(metafunc)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect; what collecting playbooks pauses goes on afterwards, however it ended."""
    from pytest_aprqa.collection_memory import collection_ends, collection_starts

    collection_starts(session.config)
    try:
        return (yield)
    finally:
        collection_ends(session.config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep items that share an engine together; with `--depth`, only comparisons, cheapest first."""
    from pytest_aprqa.collection import check_marks, drop_empty_blocks, order_items
    from pytest_aprqa.item_selection import keep_depth

    check_marks(items)
    drop_empty_blocks(items)
    order_items(items)
    keep_depth(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember which scenarios are selected: a cell asks its engine for all of them in one batch."""
    session.config.stash[RUN_STATE].remember_selection(session.items)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the failure policy, the tier or the playbook switched off, with the reason."""
    from pytest_aprqa.collection import PlaybookFile

    if item.getparent(PlaybookFile) is None:
        return
    from pytest_aprqa.item_selection import reason_to_skip

    reason = reason_to_skip(item, item.config.stash[RUN_STATE])
    if reason is not None:
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A check that met a type without decoder or limit says so: that is no finding about the artifact."""
    try:
        return (yield)
    except ValueError as error:
        from pytest_aprqa.collection import PlaybookFile

        if pyfuncitem.getparent(PlaybookFile) is None:
            raise
        from pytest_aprqa.suite.untried import skip_untried, why_untried

        why = why_untried(error)
        if why is None:
            raise
        skip_untried({str(getattr(error, "where", "")) or "a tensor": why})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the evidence of an item to its report, as one JSON text, and apply the failure policy."""
    report = yield
    from pytest_aprqa.collection import PlaybookFile

    if item.getparent(PlaybookFile) is not None:
        from pytest_aprqa.falsify.item import FalsifyItem
        from pytest_aprqa.falsify.items import attach_result

        if isinstance(item, FalsifyItem):
            attach_result(item, report)
            return report
        from pytest_aprqa.item_reports import attach_evidence

        attach_evidence(item, call, report, item.config.stash[RUN_STATE])
        return report
    from pytest_aprqa.verification_items import VerificationItem

    if isinstance(item, VerificationItem):
        from pytest_aprqa.verification_evidence import attach_verification_evidence

        order = item.config.stash[RUN_STATE].order.get(item.nodeid, 0)
        attach_verification_evidence(item, call, report, order)
    return report


class FailurePolicyHooks:
    """Watches final reports in the process that runs the items."""

    def __init__(self, state: RunState) -> None:
        self._state = state

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Apply the failure policy."""
        from pytest_aprqa.item_reports import apply_failure_policy

        apply_failure_policy(report, self._state)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Show progress while items run."""
    recorder: Any = session.config.pluginmanager.getplugin(RECORDER_NAME)
    terminal: Any = session.config.pluginmanager.getplugin("terminalreporter")
    if recorder is None or terminal is None or recorder.folder is None or session.config.option.verbose < 0:
        return (yield)
    from pytest_aprqa.progress import ProgressBoard

    board = ProgressBoard(terminal, recorder.shared)
    board.start()
    try:
        return (yield)
    finally:
        board.stop()
