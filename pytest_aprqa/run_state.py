"""State of one run in one process (controller or worker): settings, models, engine pool, halt. Lives in the stash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.engine_pool import EnginePool
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario
    from pytest_aprqa.target import Cell


class RunState:
    """Made at configure time, filled when items ask. `shared` is a folder that all workers of the run can write."""

    def __init__(self, config: pytest.Config, shared: Path | None, worker: str, workers: int) -> None:
        self.config = config
        self.shared = shared
        self.worker = worker
        self.workers = workers
        self._models: dict[Path, ModelUnderTest] = {}
        self._pool: EnginePool | None = None
        self._scenarios: dict[tuple[Path, str], dict[str, Scenario]] = {}
        self.order: dict[str, int] = {}
        self._engines_needed: list[tuple[Path, str, str]] = []

    @property
    def pool(self) -> EnginePool:
        """The engines of this process."""
        if self._pool is None:
            from pytest_aprqa.engine_pool import EnginePool

            # Under xdist nobody knows which items come next, and the other workers need the cores.
            upcoming = self._engines_needed if self.workers == 1 else []
            self._pool = EnginePool(self.report_progress, self.workers, upcoming)
        return self._pool

    def model_for(self, playbook: Playbook) -> ModelUnderTest:
        """The model of a playbook; the same object for all its items."""
        if playbook.path not in self._models:
            from pytest_aprqa.model_under_test import ModelUnderTest
            from pytest_aprqa.run_settings import resolve_settings

            settings = resolve_settings(self.config, playbook)
            self._models[playbook.path] = ModelUnderTest(playbook, settings, self.report_progress)
        return self._models[playbook.path]

    def remember_selection(self, items: list[pytest.Item]) -> None:
        """Know, after deselection, which scenarios each cell must answer and where each item stands in the order."""
        from pytest_aprqa.collection import file_of, target_of

        self.order = {item.nodeid: index for index, item in enumerate(items)}
        needed: dict[tuple[Path, str, str], None] = {}
        for item in items:
            target, file = target_of(item), file_of(item)
            if file is None or target is None:
                continue
            if target.format and target.backend and "engine" in getattr(item, "fixturenames", ()):
                needed[file.path, target.format, target.backend] = None
            if target.scenario is None:
                continue
            scenarios = self._scenarios.setdefault((file.path, str(target.cell)), {})
            scenarios.setdefault(target.scenario.key, target.scenario)
        self._engines_needed = list(needed)

    def selected_scenarios(self, file: PlaybookFile, cell: Cell) -> list[Scenario]:
        """Scenarios of a cell that selected items ask for; all of the playbook's, if only the cell is asked for."""
        selected = self._scenarios.get((file.path, str(cell)))
        if selected:
            return list(selected.values())
        from pytest_aprqa.playbooks.scenarios import expand

        wanted = (cell.format, cell.backend, cell.modality)
        return [s for s in expand(file.playbook) if (s.format, s.backend, s.modality) == wanted]

    # -- progress: one small file a worker, shown by the controller ------------------------------------------

    def report_progress(self, text: str) -> None:
        """Say what is being loaded or generated now; shown by the controller, also from xdist workers."""
        if self.shared is None:
            return
        try:
            temporary = self.shared / f".{self.worker}.progress"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self.shared / f"{self.worker}.progress")
        except OSError:
            self.shared = None  # Progress is a courtesy: a full disk must not end the run here.

    # -- halt: the failure policy stops the items that have not run yet --------------------------------------

    def halt(self, reason: str, **details: Any) -> None:
        """Stop all later items of every worker; they become Skipped with this reason."""
        self._halted = reason
        if self.shared is not None:
            (self.shared / "halt.json").write_text(json.dumps({"reason": reason, **details}), encoding="utf-8")

    _halted: str | None = None

    @property
    def halted(self) -> str | None:
        """Why the run was halted, or None."""
        if self._halted is None and self.shared is not None:
            try:
                self._halted = json.loads((self.shared / "halt.json").read_text(encoding="utf-8"))["reason"]
            except (OSError, ValueError):
                return None
        return self._halted

    def close(self) -> None:
        """End engines and close files."""
        if self._pool is not None:
            self._pool.close()
        for model in self._models.values():
            model.close()


RUN_STATE: pytest.StashKey[RunState] = pytest.StashKey()
