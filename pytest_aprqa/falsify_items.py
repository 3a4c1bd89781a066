"""The items of `--falsify`: one for each seeded defect (killed = passed) and each clean model (accepted = passed)."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify_bases import (
    GROUND_TRUTH,
    PROMPTS,
    QUANTISATION,
    TIMEOUT_MS,
    Base,
    base_of,
    link_source,
    plant,
    playbook_for,
)
from pytest_aprqa.falsify_verdict import (
    ERROR,
    KILLED,
    LONGEST_CAUSE,
    NOT_APPLICABLE,
    is_right,
    judged,
    rejection_text,
    survival_text,
)

if TYPE_CHECKING:
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.defects.defect import Defect
    from pytest_aprqa.falsify_checks import Attempt

FALSIFY_PROPERTY = "aprqa_falsify"
DEFAULT_CLEAN = 4
TYPE_LABELS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
FORMATS = (GROUND_TRUTH, "apr", "gguf")
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

    @contextlib.contextmanager
    def copy_folder(self) -> Iterator[Path]:
        """A new place for one copy, removed afterwards."""
        parent = Path(tempfile.mkdtemp(prefix="aprqa-falsify-"))
        try:
            yield parent / "model"
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    def model_at(self, folder: Path, formats: tuple[str, ...], dtype: str, *, prompts: int, timeout: int) -> Any:
        """The copy in `folder` as a model under test, under the base's playbook."""
        from pytest_aprqa.falsify_checks import settings_for
        from pytest_aprqa.model_under_test import ModelUnderTest
        from pytest_aprqa.run_settings import resolve_settings

        playbook = playbook_for(self.base, folder, formats, dtype, prompts=prompts, timeout_ms=timeout)
        return ModelUnderTest(playbook, settings_for(resolve_settings(self.config, playbook), timeout))


class DefectItem(FalsifyItem):
    """`falsify[gguf-tensor-scaled]`: passes when an expected gate refutes the copy and names the right cause."""

    def __init__(self, *, defect: Defect, **keywords: Any) -> None:
        super().__init__(**keywords)
        from pytest_aprqa.defects.expectations import expectation_of

        self.defect = defect
        self.expected = expectation_of(defect.name)
        self.extra_keyword_matches.update({"defect", defect.format, defect.gateway})

    def runtest(self) -> None:
        """Seed the defect into a copy and run the checks until one names it."""
        from pytest_aprqa.defects.errors import DefectNotApplicableError
        from pytest_aprqa.lifecycle.cache import cache_folder

        started = time.perf_counter()
        self.result = {"kind": "defect", **self.defect.to_json(), "base": "", "verdict": ERROR}
        with self.copy_folder() as folder:
            self.result["base"] = self.base.note
            try:
                plant(self.defect, self.base, folder, cache_folder())
            except DefectNotApplicableError as error:
                self.result |= {"verdict": NOT_APPLICABLE, "cause": error.problem}
                pytest.skip(f"not applicable to this model: {error.problem}")
            tried = self._try(folder)
        self.result |= judged(tried, self.expected, folder) | {"seconds": round(time.perf_counter() - started, 3)}
        if self.result["verdict"] != KILLED:
            raise DefectSurvived(survival_text(self.result))

    def _try(self, folder: Path) -> list[Attempt]:
        """Checks without an engine all run (they cost little); the others until one is right, or all on demand."""
        from pytest_aprqa.falsify_checks import attempts
        from pytest_aprqa.options import option_or_ini

        everything = bool(option_or_ini(self.config, "--falsify-all-gates"))
        defect = self.defect
        dtype = defect.base or QUANTISATION
        model = self.model_at(
            folder,
            (defect.format,),
            dtype,
            prompts=defect.prompts or PROMPTS,
            timeout=TIMEOUT_MS if defect.prompts is None else TIMEOUT_MS // 2,
        )
        tried: list[Attempt] = []

        def open_question() -> bool:
            return everything or not any(is_right(attempt, self.expected) for attempt in tried)

        for attempt in attempts(self, model, (defect.format,), before_engine=open_question):
            tried.append(attempt)
        return tried


class CleanItem(FalsifyItem):
    """`falsify[clean-gguf]`, `falsify[clean-0007]`: passes when no gate refutes a model without a defect."""

    def __init__(self, *, seed: int | None = None, format_name: str = "", dtype: str = "", **keywords: Any) -> None:
        super().__init__(**keywords)
        self.seed, self.format_name, self.dtype = seed, format_name, dtype
        self.extra_keyword_matches.add("clean")

    def runtest(self) -> None:
        """Run the checks on the clean model: its files by all checks, random models by those without an engine."""
        from pytest_aprqa.falsify_checks import attempts

        started = time.perf_counter()
        self.result = {"kind": "clean", "name": self.label, "verdict": ERROR}
        formats = FORMATS if self.seed is not None else (self.format_name,)
        with self.copy_folder() as folder:
            dtype = self._make(folder)
            model = self.model_at(folder, formats, dtype, prompts=PROMPTS, timeout=TIMEOUT_MS)
            tried = list(attempts(self, model, formats, before_engine=lambda: self.seed is None))
        refuted = [attempt for attempt in tried if attempt.refuted]
        ran = sorted({attempt.gate for attempt in tried if attempt.outcome != "Skipped"})
        self.result |= {
            "verdict": "rejected" if refuted else "accepted" if ran else "not tried",
            "gates": ran,
            "rejected_by": [{"gate": one.gate, "check": one.check, "cause": one.cause} for one in refuted],
            "seconds": round(time.perf_counter() - started, 3),
        }
        if refuted or not ran:
            raise CleanModelRejected(rejection_text(self.result))

    @property
    def label(self) -> str:
        """The part of the node id in brackets."""
        return self.name.partition("[")[2].removesuffix("]")

    def _make(self, folder: Path) -> str:
        """Make the clean model in `folder`; the label of its type."""
        from pytest_aprqa.lifecycle.cache import cache_folder
        from pytest_aprqa.lifecycle.derive import derive

        if self.seed is not None:
            return _random_model(folder, self.seed)
        link_source(self.base.folder, folder)
        if self.format_name != GROUND_TRUTH:
            made = derive(self.base.folder, self.format_name, cache=cache_folder(), dtype=self.dtype or None)
            shutil.copyfile(made.path, folder / f"model.{self.format_name}")
        return self.dtype or QUANTISATION


def _random_model(folder: Path, seed: int) -> str:
    from pytest_aprqa.random_models import random_model_folder  # type: ignore[import-untyped]

    made = random_model_folder(folder, seed)
    declared = json.loads((made / "config.json").read_text(encoding="utf-8")).get("torch_dtype")
    return TYPE_LABELS.get(str(declared), QUANTISATION)


def items_of(file: PlaybookFile) -> Iterator[FalsifyItem]:
    """Every item of `--falsify` for one playbook: clean copies first, then the catalogue, then random clean models."""
    from pytest_aprqa.defects.catalogue import DEFECTS

    formats = file.playbook.matrix.formats
    for name in FORMATS:
        if name in formats:
            yield CleanItem.from_parent(file, name=f"falsify[clean-{name}]", format_name=name)
    bases = dict.fromkeys((d.format, d.base) for d in DEFECTS.values() if d.base and d.format in formats)
    for name, dtype in bases:
        yield CleanItem.from_parent(file, name=f"falsify[clean-{name}-{dtype}]", format_name=name, dtype=dtype)
    for defect in DEFECTS.values():
        if defect.format in formats:
            yield DefectItem.from_parent(file, name=f"falsify[{defect.name}]", defect=defect)
    for seed in range(clean_models(file.config)):
        yield CleanItem.from_parent(file, name=f"falsify[clean-{seed:04}]", seed=seed)


def clean_models(config: pytest.Config) -> int:
    """How many random clean models are tried (`--falsify-clean`). A usage error for what is no number from 0 up."""
    from pytest_aprqa.options import option_or_ini

    text = option_or_ini(config, "--falsify-clean")
    if text is None:
        return DEFAULT_CLEAN
    if not re.fullmatch(r"\d{1,6}", str(text)):
        raise pytest.UsageError(f"--falsify-clean: found {text!r}, limit a whole number from 0 to 999999")
    return int(text)


def attach_result(item: FalsifyItem, report: pytest.TestReport) -> None:
    """Put what the item found on the report of its call, as one JSON text."""
    if report.when == "call" and item.result:
        if report.failed and item.result["verdict"] == ERROR:
            item.result["cause"] = str(report.longrepr)[-LONGEST_CAUSE:]
        report.user_properties.append((FALSIFY_PROPERTY, json.dumps(item.result, ensure_ascii=True, default=str)))
