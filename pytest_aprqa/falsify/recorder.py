"""The controller's record of a `--falsify` run: the kill matrix in the run folder and on the terminal. No score."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify.items import FALSIFY_PROPERTY, clean_models
from pytest_aprqa.recorder import Recorder

if TYPE_CHECKING:
    from pathlib import Path

FOLDER_PREFIX = "falsify-"


class FalsifyRecorder(Recorder):
    """Takes the place of the recorder: what is proven here are the gates, so no model gets evidence or a score."""

    def __init__(self, config: pytest.Config) -> None:
        clean_models(config)  # a usage error before anything is made or collected
        super().__init__(config)
        self.results: list[dict[str, Any]] = []
        self.matrix: dict[str, Any] | None = None

    def open_folder(self, names: list[str]) -> None:
        """A run folder of its own, `falsify-PLAYBOOK`."""
        super().open_folder([FOLDER_PREFIX + "+".join(names)])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what an item found; a worker that died keeps the name of its item."""
        text = next((value for name, value in report.user_properties if name == FALSIFY_PROPERTY), None)
        if text is not None:
            self.results.append(json.loads(str(text)) | {"node_id": report.nodeid})
        elif report.failed and "::falsify[" in report.nodeid:
            name = report.nodeid.rpartition("[")[2].removesuffix("]")
            kind = "clean" if name.startswith("clean-") else "defect"
            cause = str(report.longrepr)[-300:]
            self.results.append(
                {"kind": kind, "name": name, "verdict": "error", "cause": cause, "node_id": report.nodeid}
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Any:
        """Write kill_matrix.json, the picture and the report."""
        yield
        if self.folder is None or self.config.option.collectonly:
            return
        from pytest_aprqa.falsify.gates import gates_left_out, gates_of_suite
        from pytest_aprqa.reporting.kill_matrix import matrix_document
        from pytest_aprqa.reporting.kill_matrix_files import write_kill_matrix

        self.matrix = matrix_document(self.results, gates_of_suite(self.config), gates_left_out(self.config))
        try:
            write_kill_matrix(self.folder, self.matrix)
        except OSError as error:
            self.refusal = f"the kill matrix cannot be written: {error}"
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The matrix as a table, what survived, and what clean models were rejected."""
        if self.folder is None or self.matrix is None:
            return
        from pytest_aprqa.reporting.kill_matrix import matrix_lines

        terminalreporter.section("kill matrix", sep="=")
        width = self.config.get_terminal_writer().fullwidth
        for text, markup in matrix_lines(
            self.matrix, width, verbose=self.config.option.verbose > 0, whole=not self.partial
        ):
            terminalreporter.write_line(text, **markup)
        if self.refusal:
            terminalreporter.write_line(self.refusal, red=True)
        folder: Path = self.folder
        terminalreporter.write_line(f"evidence: {folder}")
