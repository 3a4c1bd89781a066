"""`falsification_gates`: each condition that the playbook states is measured on every engine and file, and may fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook

BLOCK = "falsification_gates"


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-FALSIFICATION-001", severity="P0")
def test_p0_condition_holds(
    p0_condition: dict[str, Any], engine: LoadedEngine, playbook: Playbook, observe: Observe
) -> None:
    """A condition of severity P0 that the playbook states holds for this engine and file."""
    _judge(p0_condition, engine, playbook, observe)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-FALSIFICATION-002", severity="P1")
def test_p1_condition_holds(
    p1_condition: dict[str, Any], engine: LoadedEngine, playbook: Playbook, observe: Observe
) -> None:
    """A condition of severity P1 that the playbook states holds for this engine and file."""
    _judge(p1_condition, engine, playbook, observe)


@pytest.mark.block(BLOCK)
@pytest.mark.gate("F-FALSIFICATION-003", severity="P2")
def test_p2_condition_holds(
    p2_condition: dict[str, Any], engine: LoadedEngine, playbook: Playbook, observe: Observe
) -> None:
    """A condition of severity P2 that the playbook states holds for this engine and file."""
    _judge(p2_condition, engine, playbook, observe)


def _judge(stated: dict[str, Any], engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.gate_conditions import parse_gate_condition
    from pytest_aprqa.suite.gate_facts import GateFacts, NotMeasured
    from pytest_aprqa.suite.parity import ask_once

    facts = ask_once(engine, BLOCK, lambda: GateFacts(engine, playbook))
    try:
        condition = parse_gate_condition(stated["condition"])
        measured = {name: facts(name) for name in condition.names}
        holds = condition.holds(facts)
    except (PlaybookError, NotMeasured) as error:
        pytest.skip(f"nothing of {stated['id']} is proven: {error}")
    for name, value in measured.items():
        observe(name, value)
    observe("condition_refuted", int(not holds), limit=0, passed=holds)
    told = ", ".join(f"{name} is {value!r}"[:120] for name, value in measured.items())
    assert holds, f"{stated['id']} ({stated['description']}): `{condition.text}` does not hold: {told}"
