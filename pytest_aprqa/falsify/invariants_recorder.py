"""The controller's record of a `--falsify-invariants` run: invariants.json in the run folder, and lines. No score."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_aprqa.falsify.invariants import examples_asked
from pytest_aprqa.falsify.recorder import FalsifyRecorder

FILE = "invariants.json"


class InvariantsRecorder(FalsifyRecorder):
    """Takes the place of the recorder: no model is under test."""

    def __init__(self, config: pytest.Config) -> None:
        examples_asked(config)  # a usage error before anything is made or collected
        super().__init__(config)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Any:
        """Write invariants.json."""
        yield
        if self.folder is None or self.config.option.collectonly:
            return
        rows = sorted(self.results, key=lambda one: str(one["name"]))
        try:
            (self.folder / FILE).write_text(json.dumps({"invariants": rows}, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            self.refusal = f"{FILE} cannot be written: {error}"
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """One line for each invariant: how many models it held on, and where a counter-example is kept."""
        if self.folder is None or self.config.option.collectonly:
            return
        terminalreporter.section("invariants on random models", sep="=")
        for row in sorted(self.results, key=lambda one: str(one["name"])):
            line = f"{row['name']}: {row['verdict']}, {row.get('examples', 0)} models"
            if row.get("not_applicable"):
                line += f", {row['not_applicable']} without a place for the defect"
            if row.get("seen_by_others"):
                line += f", {row['seen_by_others']} seen by another invariant"
            if row.get("counter_example"):
                line += f"; counter-example: {row['counter_example']}"
            terminalreporter.write_line(line, green=row["verdict"] == "held", red=row["verdict"] != "held")
        if self.refusal:
            terminalreporter.write_line(self.refusal, red=True)
        terminalreporter.write_line(f"evidence: {self.folder}")
