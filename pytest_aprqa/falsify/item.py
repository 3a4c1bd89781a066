"""What the items of `--falsify` have in common: a clean base, a place for the copy, one result for the matrix."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify.bases import (
    MODALITIES,
    PROMPTS,
    TIMEOUT_MS,
    Base,
    base_of,
    playbook_for,
)
from pytest_aprqa.falsify.verdict import rejection_text

if TYPE_CHECKING:
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.falsify.checks import Attempt, CopyModel

_BASES: pytest.StashKey[dict[Path, Base]] = pytest.StashKey()


class DefectSurvived(AssertionError):
    """No gate refuted the broken copy, or none named the right cause."""


class CleanModelRejected(AssertionError):
    """A gate refuted a model that has no defect."""


class FalsifyItem(pytest.Item):
    """One attempt to show that the gates can, or must not, fail. `outcome` is what the report carries as JSON."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.result: dict[str, Any] = {}

    @property
    def file(self) -> PlaybookFile:
        """The playbook whose checks are tried."""
        from pytest_aprqa.collection import PlaybookFile

        file = self.getparent(PlaybookFile)
        assert file is not None
        return file

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where the item comes from."""
        return self.path, None, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """One paragraph: what survived or was rejected, and what to do."""
        if isinstance(excinfo.value, (DefectSurvived, CleanModelRejected)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    @property
    def base(self) -> Base:
        """The clean model of this playbook, looked up once in a process."""
        known = self.config.stash.setdefault(_BASES, {})
        if self.file.path not in known:
            known[self.file.path] = base_of(self.file.playbook, self._own_folder)
        return known[self.file.path]

    def _own_folder(self) -> Path:
        from pytest_aprqa.run_state import RUN_STATE

        return self.config.stash[RUN_STATE].model_for(self.file.playbook).location.folder

    def conclude(self, tried: Sequence[Attempt]) -> None:
        """Put what the checks said about a clean model into the result. Raises CleanModelRejected."""
        refuted = [attempt for attempt in tried if attempt.refuted]
        ran = sorted({attempt.gate for attempt in tried if attempt.outcome != "Skipped"})
        self.result |= {
            "verdict": "rejected" if refuted else "accepted" if ran else "not tried",
            "gates": ran,
            "rejected_by": [{"gate": one.gate, "check": one.check, "cause": one.cause} for one in refuted],
        }
        if refuted or not ran:
            raise CleanModelRejected(rejection_text(self.result))

    @contextlib.contextmanager
    def copy_folder(self) -> Iterator[Path]:
        """A new place for one copy, removed afterwards."""
        parent = Path(tempfile.mkdtemp(prefix="aprqa-falsify-"))
        try:
            yield parent / "model"
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    def model_at(
        self,
        folder: Path,
        formats: tuple[str, ...],
        dtype: str,
        *,
        prompts: int = PROMPTS,
        timeout_ms: int = TIMEOUT_MS,
        against: Path | None = None,
        modalities: tuple[str, ...] = MODALITIES,
        profile: dict[str, Any] | None = None,
        is_base: bool = True,
    ) -> CopyModel:
        """The copy in `folder` as a model under test, under the base's playbook, compared with `against`."""
        from pytest_aprqa.falsify.checks import CopyModel, settings_for
        from pytest_aprqa.run_settings import resolve_settings

        playbook = playbook_for(
            self.base,
            folder,
            formats,
            dtype,
            prompts=prompts,
            timeout_ms=timeout_ms,
            modalities=modalities,
            profile=profile,
            is_base=is_base,
        )
        return CopyModel(playbook, settings_for(resolve_settings(self.config, playbook), timeout_ms, against))
