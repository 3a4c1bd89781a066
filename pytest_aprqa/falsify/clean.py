"""Clean models under `--falsify`: the base in each format, and random small models; no gate may refute one."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.falsify.bases import GROUND_TRUTH, MODALITIES, QUANTISATION, link_source
from pytest_aprqa.falsify.faults import ACCEPTED_BY, ENGINE, NO_FAULT
from pytest_aprqa.falsify.item import FalsifyItem
from pytest_aprqa.falsify.verdict import ERROR

RAW_ONLY = ("run",)  # a random model may have no chat template
FORMATS = (GROUND_TRUTH, "apr", "gguf")


class CleanItem(FalsifyItem):
    """`falsify[clean-gguf]`, `falsify[clean-0007]`: passes when no gate refutes a model without a defect."""

    def __init__(self, *, seed: int | None = None, format_name: str = "", dtype: str = "", **keywords: Any) -> None:
        super().__init__(**keywords)
        self.seed, self.format_name, self.dtype = seed, format_name, dtype
        self.extra_keyword_matches.add("clean")

    def runtest(self) -> None:
        """Run the checks on the clean model: its files by all checks, random models by those without an engine."""
        from pytest_aprqa.falsify.checks import attempts
        from pytest_aprqa.lifecycle.errors import LifecycleError

        started = time.perf_counter()
        self.result = {"kind": "clean", "name": self.label, "verdict": ERROR}
        formats = self._formats()
        with self.copy_folder() as folder:
            try:
                dtype = self._make(folder)
            except LifecycleError as error:
                self.result["verdict"] = "not tried"
                pytest.skip(f"this model has no such file: {error}")
            model = self.model_at(
                folder,
                formats,
                dtype,
                modalities=MODALITIES if self.seed is None else RAW_ONLY,
                is_base=self.seed is None,
            )
            tried = list(
                attempts(self, model, formats, before_engine=lambda: self.seed is None, conversions=formats == FORMATS)
            )
        self.conclude(tried)
        self.result["seconds"] = round(time.perf_counter() - started, 3)

    def _formats(self) -> tuple[str, ...]:
        if self.seed is None:
            return (self.format_name,)
        return FORMATS if other_family(self.seed) is None else (GROUND_TRUTH, "gguf")

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


class CleanEngineItem(FalsifyItem):
    """`falsify[clean-engine]`: the stand-in engine without a fault passes every check that its faults trip."""

    def runtest(self) -> None:
        """Run the checks of behaviour on the clean base."""
        from pytest_aprqa.falsify.checks import attempts
        from pytest_aprqa.falsify.defects import ALL_MODALITIES, with_engine

        self.extra_keyword_matches.add("clean")
        self.result = {"kind": "clean", "name": "clean-engine", "verdict": ERROR}
        with self.copy_folder() as folder:
            link_source(self.base.folder, folder)
            model = self.model_at(folder, (GROUND_TRUTH,), QUANTISATION, modalities=ALL_MODALITIES)
            model.settings = with_engine(model.settings, f"{ENGINE}:{NO_FAULT}")
            tried = list(attempts(self, model, (GROUND_TRUTH,), before_engine=lambda: True, gates=ACCEPTED_BY))
        self.conclude(tried)


def other_family(seed: int) -> str | None:
    """The family of every fifth random model: one that our converters do not write; None for all others."""
    from pytest_aprqa.random_models.shape import OTHER_FAMILIES

    return OTHER_FAMILIES[seed // 5 % len(OTHER_FAMILIES)] if seed % 5 == 4 else None


def _random_model(folder: Path, seed: int) -> str:
    """Write the model of a seed, a GGUF file beside those of other families; the label of its matrices' type."""
    from pytest_aprqa.models.artifact import open_artifact
    from pytest_aprqa.random_models import random_model_folder
    from pytest_aprqa.random_models.as_gguf import random_model_gguf

    family = other_family(seed)
    made = random_model_folder(folder, seed, family=family)
    if family is not None:
        random_model_gguf(made, made / "model.gguf")
    with open_artifact(made) as artifact:
        entries = [artifact.tensors.entry(name) for name in artifact.tensors.names()]
        return next(entry.dtype for entry in entries if len(entry.shape) > 1).lower()
