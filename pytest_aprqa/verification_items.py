"""Ticket, hypotheses and gateway specification files named with `--playbook`: each trial is one pytest item."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.playbooks.verification import MODEL, Trial, VerificationFile

if TYPE_CHECKING:
    from pytest_aprqa.engines.apr_program import AprProgram
    from pytest_aprqa.engines.process import Finished

PANIC = 101  # what a Rust program ends with after a panic


class TrialFailed(AssertionError):
    """The program did not do what the file expects of it."""


class TrialTimeout(TrialFailed):
    """The program did not end within `limit_ms` milliseconds."""

    def __init__(self, text: str, limit_ms: int) -> None:
        super().__init__(text)
        self.limit_ms = limit_ms


class VerificationCollector(pytest.File):
    """One file; a bad one is a collection error of one line."""

    @classmethod
    def of(cls, parent: pytest.Collector, path: Path) -> VerificationCollector:
        """The node of a file; outside the root folder it is identified by its name alone."""
        node_id = None if path.is_relative_to(parent.config.rootpath) else path.name
        return cls.from_parent(parent, path=path, nodeid=node_id)

    def collect(self) -> Iterator[pytest.Item]:
        """One item for each trial, in the order of the file."""
        from pytest_aprqa.playbooks.errors import PlaybookError
        from pytest_aprqa.playbooks.verification import load_verification

        try:
            file = load_verification(self.path)
        except PlaybookError as error:
            raise self.CollectError(str(error)) from None
        assert file is not None
        for trial in file.trials:
            yield VerificationItem.from_parent(self, name=trial.id, file=file, trial=trial)


class VerificationItem(pytest.Item):
    """Runs one command of the `apr` program and compares what came of it with what the file expects."""

    def __init__(self, *, file: VerificationFile, trial: Trial, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.file, self.trial = file, trial
        self.finished: Finished | None = None  # what the program did, once it ran
        about = {"kind": file.kind, "name": file.name, "sha256": file.sha256, "severity": file.severity}
        self.user_properties.append(("aprqa_verification", json.dumps(about | dict(file.notes), sort_keys=True)))

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the item comes from."""
        return self.path, None, f"{self.name}: {self.trial.title}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One line: what was expected, what was found."""
        return str(excinfo.value) if isinstance(excinfo.value, TrialFailed) else super().repr_failure(excinfo, style)

    def runtest(self) -> None:
        """Skipped, with the reason, where there is nothing to run or nothing to run it with."""
        if self.trial.reason is not None:
            pytest.skip(self.trial.reason)
        if self.trial.judged:
            problem = misjudged(self.file, self.trial)
        else:
            self.finished = self._run(self._program())
            problem = problem_of(self.file, self.trial, self.finished)
        if problem is None:
            return
        policy = self.file.failure_policy
        if policy is not None and policy.halts_after(gateway_failed=self.file.severity == "P0"):
            self.session.shouldfail = f"failure policy {policy.value}: {self.name} failed"
        meaning = f"; {self.file.failure_message}" if self.file.failure_message else ""
        command = f"`apr {' '.join(self.trial.words)}`: " if self.trial.words else ""
        raise TrialFailed(f"{self.name}: {command}{problem}{meaning}")

    @property
    def crashed(self) -> bool:
        """True where the program ran and died of a signal or a panic, which the file does not expect."""
        expected = (self.trial.expected or {}).get("exit_code")
        return self.finished is not None and self.finished.status != expected and has_crashed(self.finished)

    def model_name(self) -> tuple[str, str]:
        """Organisation and name of the model that the user named; its last folders where a path was given."""
        from pytest_aprqa.options import option_or_ini
        from pytest_aprqa.verification_evidence import NO_MODEL

        place = option_or_ini(self.config, "--model-path")
        if place is None or not self.trial.needs_model:
            return self.file.kind, NO_MODEL
        return Path(place).absolute().parent.name or self.file.kind, Path(place).name

    def _program(self) -> AprProgram:
        from pytest_aprqa.engines.apr_program import find_program, probe
        from pytest_aprqa.engines.errors import EngineUnavailable
        from pytest_aprqa.options import option_or_ini

        try:
            program = probe(find_program(option_or_ini(self.config, "--apr-binary") or "apr"))
        except EngineUnavailable as error:
            pytest.skip(str(error))
        known = {command.split()[0] for command in program.flags}
        missing = [tool for tool in self.file.tools_required if tool not in known]
        if program.new and missing:  # an older program does not list its commands
            pytest.skip(f"tools_required: {program.path} {program.version} has no command {', '.join(missing)}")
        return program

    def _run(self, program: AprProgram) -> Finished:
        from pytest_aprqa.engines.process import run_program
        from pytest_aprqa.run_settings import resolve_settings

        settings = resolve_settings(self.config, None)
        if self.trial.needs_model and settings.model_path is None:
            pytest.skip(f"the command names {MODEL}: give --model-path")
        words = [word.replace(MODEL, str(settings.model_path)) for word in self.trial.words]
        asked = "--scenario-timeout" in settings.sources and settings.sources["--scenario-timeout"] in ("option", "ini")
        limit_ms = settings.timeout_ms if asked else self.trial.timeout_ms
        try:
            return run_program([str(program.path), *words], limit_s=limit_ms / 1000)
        except TimeoutError:
            late = f"{self.name}: `apr {' '.join(words)}` did not end within {limit_ms} ms"
            raise TrialTimeout(late, limit_ms) from None


def has_crashed(done: Finished) -> bool:
    """Ended by a signal, or by a panic."""
    return done.status < 0 or done.status == PANIC or "panicked at" in done.stderr


def misjudged(file: VerificationFile, trial: Trial) -> str | None:
    """The first example that the garbage oracle, with the limits of the file, does not judge as the file says."""
    from pytest_aprqa.oracles.garbage import judge_garbage

    for text, accepted in trial.judged:
        judgement = judge_garbage(text, **(file.garbage_oracle or {}))
        if (judgement.verdict == "pass") is not accepted:
            return f"the oracle says {judgement.verdict} of {text[:60]!r}: {judgement.reason}"
    return None


def problem_of(file: VerificationFile, trial: Trial, done: Finished) -> str | None:
    """What is not as expected, in one line, or None. A condition on a value that is not measured is a problem too."""
    expected = trial.expected or {}
    if has_crashed(done) and expected.get("no_panic", False):
        return f"it crashed, status {done.status}: {done.last_words}"
    for pattern in file.crash_patterns:
        if pattern in done.stderr:
            return f"standard error has the crash pattern {pattern!r}"
    if "exit_code" in expected and done.status != expected["exit_code"]:
        said = f": {done.last_words}" if done.last_words else ""
        return f"exit status {done.status}, expected {expected['exit_code']}{said}"
    return _problem_of_text(file, expected, done) or _problem_of_condition(trial, done)


def _problem_of_text(file: VerificationFile, expected: Any, done: Finished) -> str | None:
    both = done.stdout + done.stderr
    wanted = expected.get("stderr_contains", [])
    for text in [wanted] if isinstance(wanted, str) else wanted:
        if text not in done.stderr:
            return f"standard error does not have {text!r}"
    for text in expected.get("output_contains", ()):
        if text not in both:
            return f"the output does not have {text!r}"
    for text in expected.get("output_not_contains", ()):
        if text in both:
            return f"the output has {text!r}"
    if expected.get("stdout_not_empty") and not done.stdout.strip():
        return "nothing is printed"
    different = len(set(done.stdout.strip()))
    if different < expected.get("min_unique_chars", 0):
        return f"{different} different characters, limit {expected['min_unique_chars']}"
    if expected.get("garbage_check"):
        from pytest_aprqa.oracles.garbage import judge_garbage

        judgement = judge_garbage(done.stdout, **(file.garbage_oracle or {}))
        if judgement.verdict == "fail":
            return f"the output is garbage: {judgement.reason}"
    return None


def _problem_of_condition(trial: Trial, done: Finished) -> str | None:
    if trial.condition is None:
        return None
    measured = {"exit_code": float(done.status)}
    for name in trial.condition.names:
        # Written as `name: 3`, `name = 3` or `"name": 3`; tools that print JSON and those that print text.
        found = re.search(rf'\b{name}"?\s*[:=]\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)', done.stdout)
        if found is not None and name != "exit_code":
            measured[name] = float(found[1].rstrip("."))
    missing = [name for name in trial.condition.names if name not in measured]
    if missing:
        return f"the condition needs {', '.join(missing)}, which the output does not have: not proven"
    return trial.condition.problem(measured)
