"""What `aprqa certify` will run for a model: its playbook, whether that is the locked one, and what it cannot prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.tiers import Tier

PASSED, FAILED, NOT_CHECKED = "PASSED", "FAILED", "NOT CHECKED"  # integrity


@dataclass(frozen=True, slots=True)
class Plan:
    """One model. `reason`: why nothing can be run; `playbook` is None where there is none or it cannot be loaded."""

    path: Path | None
    playbook: Playbook | None = None
    integrity: str = NOT_CHECKED
    reason: str | None = None
    warning: str | None = None


class Planner:
    """Playbooks of ROOTS, those of the first root before the others, for one tier."""

    def __init__(self, roots: Sequence[Path], tier: Tier, *, check_locks: bool, no_gpu: bool) -> None:
        from pytest_aprqa.playbooks.lock import LOCK_NAME, read_lock
        from pytest_aprqa.playbooks.repository_index import RepositoryIndex

        self._roots, self._tier, self._check_locks, self._no_gpu = roots, tier, check_locks, no_gpu
        self._index = RepositoryIndex(folder for root in roots for folder in (root / "models", root))
        self._locks = [root / LOCK_NAME for root in roots]
        self._read_lock = cache(read_lock)
        self._gpu_problem: str | None = None
        self._asked_for_gpu = False

    def missing_locks(self, models: Sequence[str]) -> str | None:
        """Where lock files were looked for, when locks are to be checked and no playbook of MODELS has one."""
        from pytest_aprqa.playbooks.lock import locks_over

        if not self._check_locks or any(lock.is_file() for lock in self._locks):
            return None
        paths = [path for model_id in models if (path := self._index.playbook(model_id, self._tier)) is not None]
        return None if any(locks_over(path) for path in paths) else " and ".join(map(str, self._locks))

    def plan(self, model_id: str) -> Plan:
        """The plan of one model; whatever is wrong with its playbook is in it, not an exception."""
        from pytest_aprqa.playbooks.errors import PlaybookError
        from pytest_aprqa.playbooks.loading import load_playbook

        path = self._index.playbook(model_id, self._tier)
        if path is None:
            other = self._index.any_playbook(model_id)
            write = f"make one with aprqa bootstrap, or write it to {self._roots[0]}"
            hint = f"there is {other.name}" if other else write
            return Plan(None, reason=f"no playbook for tier {self._tier.name}; {hint}")
        try:
            integrity = self._compared_with_lock(path)
        except PlaybookError as error:
            return Plan(path, integrity=FAILED, reason=str(error))
        try:
            playbook = load_playbook(path)
        except PlaybookError:
            return Plan(path, integrity=integrity)  # the run says what is wrong with it
        if playbook.model.hf_repo != model_id:  # found by its name, which says no organisation
            reason = f"{path.name} is a playbook of {playbook.model.hf_repo}; make one with aprqa bootstrap"
            return Plan(path, integrity=integrity, reason=reason)
        return Plan(path, playbook, integrity, warning=self._too_small(playbook))

    def _compared_with_lock(self, path: Path) -> str:
        """PASSED or NOT CHECKED; a playbook that no lock lists is refused where any lock is. PlaybookError: refused."""
        from pytest_aprqa.playbooks.lock import check_lock, lock_of, locks_over

        if not self._check_locks:
            return NOT_CHECKED
        found = lock_of(path, self._read_lock)
        if found is None and not locks_over(path) and not any(lock.is_file() for lock in self._locks):
            return NOT_CHECKED
        check_lock(path, found[1] if found else {})
        return PASSED

    def _too_small(self, playbook: Playbook) -> str | None:
        """What is wrong with a playbook whose matrix, as far as it can run here, cannot prove the tier."""
        from pytest_aprqa.playbooks.scenarios import expand

        tier = self._tier
        inside = [
            one for one in expand(playbook) if not tier.reason_to_leave_out(one.format, one.backend, one.modality, one)
        ]
        aside = sum(one.backend == "gpu" and self._no_gpu_here() is not None for one in inside)
        most = len(inside) - aside
        if most >= tier.scenarios:
            return None
        gpu = f"; {aside} on gpu are skipped: {self._no_gpu_here()}" if aside else ""
        asks = f"tier {tier.name} cannot be met: it asks for {tier.scenarios} scenarios"
        return f"{asks}, of this matrix {most} run at most{gpu}"

    def _no_gpu_here(self) -> str | None:
        """Why gpu cells are skipped, or None. The driver is asked once."""
        from pytest_aprqa.engines.selection import gpu_problem

        if self._no_gpu:
            return "--no-gpu"
        if not self._asked_for_gpu:
            self._gpu_problem, self._asked_for_gpu = gpu_problem(), True
        return self._gpu_problem
