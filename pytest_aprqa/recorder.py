"""The controller's record of a run: evidence in the order of arrival, then score and reports, then the summary."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.evidence.collection_record import CACHED
from pytest_aprqa.item_evidence import EVIDENCE_PROPERTY
from pytest_aprqa.termination import EXIT_CODE, Termination

if TYPE_CHECKING:
    from pytest_aprqa.evidence.log import EvidenceLog
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.evidence.run_folder import FolderBefore

DEFAULT_THRESHOLD = 700  # raw score, the lowest tier's
BELOW_THRESHOLD_EXIT = pytest.ExitCode.TESTS_FAILED


class Recorder:
    """Registered on the controller only, when a playbook takes part. The single writer of the evidence folder."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.shared = Path(tempfile.mkdtemp(prefix="aprqa-run-"))
        self.folder: Path | None = None
        self.evidence: list[Evidence] = []
        self.score: Any = None
        self.refusal: str | None = None
        self.deselected = 0
        self.header: list[str] = []
        self._diagnosed = False
        self._attempts: dict[str, list[Evidence]] = {}
        self._log: EvidenceLog | None = None
        self._before: FolderBefore | None = None
        self._interrupted = False
        self._termination = Termination()

    # -- writing --------------------------------------------------------------------------------------------------

    def open_folder(self, names: list[str]) -> None:
        """Create the evidence folder before the first item, so that an unwritable place is known at once."""
        from pytest_aprqa.evidence.errors import EvidenceError
        from pytest_aprqa.evidence.log import EvidenceLog
        from pytest_aprqa.evidence.run_folder import FolderBefore, create_run_folder
        from pytest_aprqa.options import option_or_ini
        from pytest_aprqa.resuming import resumed_folder

        given = option_or_ini(self.config, "--evidence-dir")
        resumed = resumed_folder(self.config)
        try:
            if given:
                self.folder = self.config.invocation_params.dir / Path(given).expanduser()
                self._before = FolderBefore(None, given=self.folder)
                self.folder.mkdir(parents=True, exist_ok=True)
            elif resumed is not None:
                self.folder = resumed
                self._before = FolderBefore(None)
            else:
                # Without a configuration file, pytest may take the folder of the model for its root folder.
                base = self.config.rootpath if self.config.inipath else self.config.invocation_params.dir
                self._before = FolderBefore(base / "evidence")
                self.folder = create_run_folder(base / "evidence", "+".join(names) or "playbook")
            if resumed is None or self.folder.resolve() != resumed:
                self._before.aside = _set_aside(self.folder / "evidence.jsonl")
            self._log = EvidenceLog(self.folder / "evidence.jsonl")
        except EvidenceError as error:
            raise pytest.UsageError(f"evidence folder cannot be used: {error}") from None
        except OSError as error:
            advice = "choose a folder that can be written"
            raise pytest.UsageError(
                f"evidence folder cannot be used: {error.filename}: {error.strerror}; {advice}"
            ) from None
        self._termination.watch()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the evidence that came with a report; keep every attempt of a rerun, with the worst outcome."""
        from pytest_aprqa.evidence.errors import EvidenceError
        from pytest_aprqa.evidence.record import Evidence

        text = next((value for name, value in report.user_properties if name == EVIDENCE_PROPERTY), None)
        if text is None:
            if str(report.when) == "???" and report.failed and ".playbook.y" in report.nodeid:
                text = _worker_crash(report)
            else:
                return
        import json

        evidence = Evidence.from_dict(json.loads(str(text)))
        if report.when == "teardown" and not report.failed:
            return
        attempts = self._attempts.setdefault(report.nodeid, [])
        attempts.append(evidence)
        if str(report.outcome) == "rerun":
            return
        try:
            self._write(_worst(attempts), str(text) if len(attempts) == 1 else None)
        except EvidenceError as error:
            self.refusal = str(error)
            pytest.exit(f"evidence cannot be written: {error}", returncode=int(pytest.ExitCode.INTERNAL_ERROR))
        finally:
            self._attempts.pop(report.nodeid, None)

    def _write(self, evidence: Evidence, text: str | None) -> None:
        if self._log is None:
            self.open_folder([evidence.playbook or "playbook"])
            assert self._log is not None
        self._log.append(evidence, text)
        self.evidence.append(evidence)
        if evidence.outcome.failed and evidence.metadata.get("failure_policy") == "fail-fast" and not self._diagnosed:
            from pytest_aprqa.fail_fast_report import write_fail_fast_report

            self._diagnosed = True
            assert self.folder is not None
            write_fail_fast_report(self.folder / "fail-fast-report", evidence)
        self.config.hook.pytest_aprqa_evidence(config=self.config, evidence=evidence)

    def pytest_report_header(self) -> list[str]:
        """Playbooks, models and settings of this run, and what the playbooks warn of."""
        return self.header

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count deselected items: a part of a playbook gets a partial score that is not held against a threshold."""
        self.deselected += len(items)

    def note_end(self, session: pytest.Session) -> None:
        """Remember an interrupt; one by SIGTERM has the exit code of a process that it ended."""
        self._interrupted = session.exitstatus == pytest.ExitCode.INTERRUPTED
        if self._termination.came and self._interrupted:
            session.exitstatus = EXIT_CODE

    def withdraw_folder(self) -> None:
        """Leave nothing behind of a run that never began: its folder is not the newest evidence, there is none."""
        if self.folder is None or self._log is None or self._before is None or self.evidence:
            return
        self._log.close()
        self._before.restore(self.folder)
        self.folder = self._log = None

    # -- the end --------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Any:
        """Score and report after the workers have gone; a score below the threshold is a failure of the run."""
        yield
        if self.folder is None or self.config.option.collectonly:
            return
        self.evidence.sort(key=_order_of)
        self._score(session)
        self._report()

    def _score(self, session: pytest.Session) -> None:
        from pytest_aprqa.scoring.errors import ScoringError
        from pytest_aprqa.scoring.score import score

        if self.verifies_only:
            return  # nothing was asked of a model: the outcomes of the items are the verdict
        try:
            self.score = score(self.evidence, model_id=self._model_id())
        except ScoringError as error:
            self.refusal = str(error)
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = BELOW_THRESHOLD_EXIT
            return
        if session.exitstatus == pytest.ExitCode.OK and not self.partial and not self.passes_threshold():
            session.exitstatus = BELOW_THRESHOLD_EXIT

    @property
    def verifies_only(self) -> bool:
        """True when all items were of tickets, hypotheses or gateway specifications."""
        from pytest_aprqa.evidence.collection_record import is_verification

        return bool(self.evidence) and all(map(is_verification, self.evidence))

    @property
    def partial(self) -> bool:
        """True when the user chose a part of the items, or the run ended early: the score is for orientation."""
        from pytest_aprqa.options import option_or_ini

        option = self.config.option
        return self.deselected > 0 or bool(option.keyword or option.markexpr or option_or_ini(self.config, "--shard"))

    def _part(self) -> str:
        from pytest_aprqa.options import option_or_ini

        if shard := option_or_ini(self.config, "--shard"):
            return f"shard {shard}, to be joined with aprqa merge"
        return f"partial run ({self.deselected} items deselected)"

    def threshold(self) -> int:
        """Raw score that the highest tier of this run must reach (700; deep 900)."""
        from pytest_aprqa.playbooks.tiers import parse_tier

        tiers = {tier for entry in self.evidence if (tier := entry.metadata.get("tier"))}
        return max((int(parse_tier(tier).threshold) for tier in tiers), default=DEFAULT_THRESHOLD)

    def passes_threshold(self) -> bool:
        """The raw score reaches the tier's threshold and nothing blocks: no failed gateway, no refuted P0 check."""
        return self.score.status != "BLOCKED" and bool(self.score.raw_score >= self.threshold())

    def _model_id(self) -> str:
        from pytest_aprqa.evidence.collection_record import is_verification

        models = [e.scenario["model"] for e in self.evidence if not is_verification(e)]
        names = {f"{model['org']}/{model['name']}" for model in models}
        return ", ".join(sorted(names))

    def _report(self) -> None:
        from pytest_aprqa.check_events import TELLER_NAME
        from pytest_aprqa.reporting.report_files import write_reports

        assert self.folder is not None
        if self.config.pluginmanager.has_plugin(TELLER_NAME):
            return  # `aprqa check` reads the evidence only
        try:
            write_reports(self.folder, self.evidence, self.score)
            self.config.hook.pytest_aprqa_reports(
                config=self.config, folder=self.folder, evidence=self.evidence, score=self.score
            )
        except OSError as error:
            self.refusal = (
                f"reports cannot be written: {error}; evidence.jsonl is complete, run: aprqa report {self.folder}"
            )

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The verdict: matrix, gateways, score, first failure and what to do."""
        if self.folder is None or self.config.option.collectonly:
            return
        from pytest_aprqa.reporting.terminal import summary_lines

        if self.verifies_only:
            self._verification_summary(terminalreporter)
            return
        terminalreporter.section("model qualification", sep="=")
        if self.score is None:
            terminalreporter.write_line(
                f"NOT QUALIFIED: no score. {self.refusal or 'nothing was recorded'}", red=True, bold=True
            )
        for text, markup in summary_lines(self.evidence, self.score, self.config.get_terminal_writer().fullwidth):
            terminalreporter.write_line(text, **markup)
        if self.score is not None and self.partial:
            terminalreporter.write_line(f"{self._part()}: the score is not held against a threshold", yellow=True)
        if replayed := sum(CACHED in entry.metadata for entry in self.evidence):
            terminalreporter.write_line(f"replayed from an earlier run: {replayed} of {len(self.evidence)} items")
        if self.score is not None and self.refusal:
            terminalreporter.write_line(self.refusal, red=True)
        terminalreporter.write_line(f"evidence: {self.folder}")
        if self._interrupted and self.evidence:
            terminalreporter.write_line(f"ended early; to go on: --resume={self.folder}", yellow=True)

    def _verification_summary(self, terminalreporter: Any) -> None:
        from collections import Counter

        counts = Counter(entry.outcome.value for entry in self.evidence)
        failed = sum(entry.outcome.failed for entry in self.evidence)
        terminalreporter.section("verification", sep="=")
        told = f"{counts['Corroborated']} held, {failed} refuted, {counts['Skipped']} not run; no model was scored"
        terminalreporter.write_line(told, red=failed > 0, bold=True)
        if self.refusal:
            terminalreporter.write_line(self.refusal, red=True)
        terminalreporter.write_line(f"evidence: {self.folder}")

    def close(self) -> None:
        """Close the log and remove the shared folder of the workers."""
        import shutil

        self._termination.stop_watching()
        if self._log is not None:
            self._log.close()
        shutil.rmtree(self.shared, ignore_errors=True)


def _set_aside(log: Path) -> tuple[Path, Path] | None:
    """Evidence of an earlier run in the same folder is kept under another name: runs are never mixed or lost.

    The two names of the log, before and now; None where there was none.
    """
    if not log.is_file() or log.is_symlink() or not log.stat().st_size:
        return None
    number = 1
    while (older := log.with_name(f"evidence.{number}.jsonl")).exists():
        number += 1
    log.rename(older)
    return log, older


_SEVERITY_OF_OUTCOME = {"Corroborated": 0, "Skipped": 1, "Falsified": 2, "Timeout": 3, "Crashed": 4}


def _worst(attempts: list[Evidence]) -> Evidence:
    """The attempt with the worst outcome, with all outcomes in its metadata (an unstable pass is not a pass)."""
    import dataclasses

    if len(attempts) == 1:
        return attempts[0]
    worst = max(attempts, key=lambda e: _SEVERITY_OF_OUTCOME[str(getattr(e.outcome, "value", e.outcome))])
    outcomes = ", ".join(str(getattr(e.outcome, "value", e.outcome)) for e in attempts)
    return dataclasses.replace(worst, metadata=dict(worst.metadata) | {"attempts": outcomes})


def _order_of(evidence: Evidence) -> tuple[int, str]:
    return int(evidence.metadata.get("order", "0")), evidence.node_id or ""


def _worker_crash(report: pytest.TestReport) -> str:
    """Evidence for an item whose pytest worker died: nothing but the node id is known."""
    from pytest_aprqa.evidence.record import Evidence, canonical_json
    from pytest_aprqa.item_evidence import host_facts

    evidence = Evidence.crashed(
        -1,
        str(report.longrepr),
        gate_id="G3-STABLE",
        scenario={
            "id": report.nodeid,
            "model": {"org": "unknown", "name": "unknown", "variant": None},
            "modality": None,
            "backend": None,
            "format": None,
            "prompt": None,
            "temperature": None,
            "max_tokens": None,
            "seed": None,
            "trace_level": "none",
            "oracle_type": None,
        },
        reason=f"the test process died while running {report.nodeid}",
        host=host_facts(),
        node_id=report.nodeid,
        severity="P0",
        gateway="G3",
    )
    return canonical_json(evidence)
