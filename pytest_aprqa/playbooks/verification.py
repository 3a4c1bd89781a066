"""Ticket, hypotheses and gateway specification files: read and validated, as trials that each are one item."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_aprqa.playbooks.conditions import Condition, parse_condition
from pytest_aprqa.playbooks.document import Document, load_yaml
from pytest_aprqa.playbooks.errors import KeyPath
from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.validation import check_verification

PROGRAMS = ("apr",)
DEFAULT_TIMEOUT_MS = 120_000
MODEL = "${MODEL}"
_OF_A_SHELL = re.compile(r"[|;<>`&]|\$\(")
_NOT_A_MODEL_PLAYBOOK = ("verification_gates", "reproduction")


@dataclass(frozen=True, slots=True)
class Trial:
    """One item. `words` follow the program; `reason` says why there is nothing to run (then it is skipped)."""

    id: str
    title: str
    words: tuple[str, ...] = ()
    expected: Mapping[str, Any] | None = None
    condition: Condition | None = None
    timeout_ms: int = DEFAULT_TIMEOUT_MS
    reason: str | None = None
    judged: tuple[tuple[str, bool], ...] = ()  # texts, and whether the garbage oracle must accept them

    @property
    def needs_model(self) -> bool:
        """True where the command names the model under test."""
        return any(MODEL in word for word in self.words)


@dataclass(frozen=True, slots=True)
class VerificationFile:
    """`kind`: ticket, hypotheses or specification. `garbage`: limits of the oracle, and what it must judge how."""

    kind: str
    name: str
    path: Path
    sha256: str
    trials: tuple[Trial, ...]
    tools_required: tuple[str, ...] = ()
    crash_patterns: tuple[str, ...] = ()
    garbage_oracle: Mapping[str, Any] | None = None
    failure_policy: FailurePolicy | None = None
    severity: str = "P1"
    failure_message: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)  # what the file says of itself, for the report


def kind_of(data: Any) -> str | None:
    """The kind of file that data is of; None: a model playbook, or nothing that is known here."""
    if not isinstance(data, dict) or ("model" in data and "test_matrix" in data):
        return None
    if "spec" in data and "gate" in data:
        return "specification"
    if any(key in data for key in _NOT_A_MODEL_PLAYBOOK):
        return "ticket"
    return "hypotheses" if isinstance(data.get("tests"), list) else None


def load_verification(path: Path) -> VerificationFile | None:
    """Read and validate; None for a model playbook. Raises PlaybookError with line and column."""
    document = load_yaml(path)
    kind = kind_of(document.data)
    if kind is None:
        return None
    check_verification(document, kind)
    data = document.data
    trials = {"ticket": _of_ticket, "hypotheses": _of_hypotheses, "specification": _of_specification}[kind](document)
    _refuse_repeated(document, trials)
    gate = data.get("gate", {})
    policy = data.get("failure_policy")
    metadata = data.get("metadata", {})
    return VerificationFile(
        kind=kind,
        name=data["spec"]["id"] if kind == "specification" else data["name"],
        path=path,
        sha256=document.sha256,
        trials=tuple(trial for _, trial in trials),
        tools_required=tuple(data.get("tools_required", ())),
        crash_patterns=tuple(data.get("crash_patterns", ())),
        garbage_oracle=data.get("garbage_oracle"),
        failure_policy=None if policy is None else FailurePolicy.parse(policy),
        severity=str(gate.get("severity", metadata.get("severity", "P1"))),
        failure_message=gate.get("failure_message"),
        notes={
            key: data[key] for key in ("version", "description", "model", "tier", "spec", "metadata") if key in data
        },
    )


Placed = list[tuple[KeyPath, Trial]]


def _of_ticket(document: Document) -> Placed:
    data = document.data
    trials: Placed = []
    if reproduction := data.get("reproduction"):
        words, reason = command_words(reproduction["command"])
        title = f"no longer: {reproduction.get('original_error') or reproduction['command']}"
        expected = {"no_panic": True} | data.get("expected", {})
        if "exit_code" not in expected and not data.get("expected"):
            expected["exit_code"] = 0
        path: KeyPath = ("reproduction", "command")
        trials.append((path, Trial("reproduction", title, words, expected, reason=reason)))
    for index, gate in enumerate(data["verification_gates"]):
        trials.append((("verification_gates", index, "id"), _gate(document, index, gate)))
    for name, limit in data.get("acceptance", {}).items():
        reason = f"acceptance `{name}: {limit}` is for whoever closes the ticket: nothing here measures it"
        trials.append((("acceptance", name), Trial(f"acceptance-{name}", f"{name}: {limit}", reason=reason)))
    for index, test in enumerate(data.get("regression_tests", ())):
        text = test if isinstance(test, str) else str(test.get("name", test.get("id", index)))
        command = None if isinstance(test, str) else test.get("command")
        words, why = command_words(str(command)) if command else ((), "the regression test has no command to run")
        expected = {"exit_code": 0, "no_panic": True}
        trial = Trial(f"regression-{index + 1:03}", text, words, expected, reason=why)
        trials.append((("regression_tests", index), trial))
    return trials


def _gate(document: Document, index: int, gate: dict[str, Any]) -> Trial:
    path: KeyPath = ("verification_gates", index)
    if ("gate" in gate) == ("tool" in gate):
        problem = "names a gate and a tool" if "gate" in gate else "names neither a gate nor a tool"
        raise document.error(path, problem, advice="give one of the two: what decides the condition?")
    if "gate" in gate:
        reason = f"gate {gate['gate']} decides it: run a playbook of the model and look at that gate"
        return Trial(gate["id"], gate["description"], reason=reason)
    try:
        condition = parse_condition(gate["condition"])
    except ValueError as error:
        raise document.error((*path, "condition"), str(error), advice="join comparisons by && or ||") from None
    words = tuple(str(word) for word in (*gate["tool"].split(), *gate.get("args", ())))
    return Trial(gate["id"], gate["description"], words, {"no_panic": True}, condition)


def _of_hypotheses(document: Document) -> Placed:
    trials: Placed = []
    for index, test in enumerate(document.data["tests"]):
        words, reason = command_words(test["command"]) if "command" in test else ((), "it names no command to run")
        expected = {"exit_code": 0, "no_panic": True}
        title = f"{test['name']}: {test['hypothesis']}"
        trials.append((("tests", index, "id"), Trial(test["id"], title, words, expected, reason=reason)))
    return trials


def _of_specification(document: Document) -> Placed:
    trials: Placed = []
    for index, scenario in enumerate(document.data["scenarios"]):
        words, reason = command_words(scenario["command"])
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", scenario["name"]).strip("-").lower()
        trial = Trial(
            f"{document.data['gate']['id']}-{name}",
            scenario["name"],
            words,
            scenario["expected"],
            timeout_ms=scenario.get("timeout_ms", DEFAULT_TIMEOUT_MS),
            reason=reason,
        )
        trials.append((("scenarios", index, "name"), trial))
    for key, accepted in (("garbage_examples", False), ("valid_examples", True)):
        if texts := document.data.get(key):
            title = f"the garbage oracle {'accepts' if accepted else 'refuses'} each of {key}"
            judged = tuple((text, accepted) for text in texts)
            trials.append(((key,), Trial(key.replace("_", "-"), title, judged=judged)))
    return trials


def command_words(command: str) -> tuple[tuple[str, ...], str | None]:
    """The words after the program, and why the command is not run: only the `apr` program is, without a shell."""
    if _OF_A_SHELL.search(command):
        return (), f"`{command}` needs a shell: a playbook may run the `apr` program only"
    try:
        words = shlex.split(command)
    except ValueError as error:
        return (), f"`{command}` is no command: {error}"
    if not words or words[0] not in PROGRAMS:
        return (), f"`{command}` is not a command of the `apr` program: nothing else is run"
    return tuple(words[1:]), None


def _refuse_repeated(document: Document, trials: Placed) -> None:
    seen: set[str] = set()
    for path, trial in trials:
        if trial.id in seen:
            raise document.error(path, "the id is there twice", found=f"'{trial.id}'", advice="rename one of the two")
        seen.add(trial.id)
