"""The end of a server: no process of it is left and its port is free."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

PATIENCE_S = 5.0  # a group that was told to end gets as long before it is killed


@pytest.mark.ends_engine
@pytest.mark.gate("F-HTTP-004", severity="P1")
def test_shutdown_leaves_no_process_and_no_port(
    engine: LoadedEngine, playbook: Playbook, run_state: RunState, observe: Observe
) -> None:
    """After the engine with its server is ended, no process of it lives and its port refuses connections."""
    from pytest_aprqa.suite.left_behind import left_behind, traces_of

    if "serve" not in playbook.matrix.modalities:
        pytest.skip("the playbook does not ask for serve")
    if engine.description.name == "url":
        pytest.skip("the server is somebody else's: it is not ended here")
    url, pid = engine.server_url(), engine.host.pid
    traces = traces_of(pid, url, engine.host.folder or "") if pid is not None else None
    if traces is None:
        pytest.skip("this system does not show the processes of an engine")
    observe("processes", len(traces.descendants), limit=">= 1")
    run_state.pool.retire(engine)
    found = left_behind(traces, PATIENCE_S)
    observe("left_behind", len(found), limit=0, passed=not found)
    observe.advise("the engine starts processes outside its own group, or does not close its socket")
    assert not found, f"after the end of the server: {'; '.join(found[:3])}"
