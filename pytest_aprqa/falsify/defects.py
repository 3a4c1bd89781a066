"""The defects under `--falsify`: seeded into a copy of an artifact, or a fault of the engine; killed = passed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify.bases import (
    GROUND_TRUTH,
    HANG_TIMEOUT_MS,
    PROMPTS,
    QUANTISATION,
    TIMEOUT_MS,
    link_source,
    plant,
)
from pytest_aprqa.falsify.faults import CONVERSIONS
from pytest_aprqa.falsify.item import DefectSurvived, FalsifyItem
from pytest_aprqa.falsify.verdict import ERROR, KILLED, NOT_APPLICABLE, is_answered, judged, survival_text

if TYPE_CHECKING:
    from pytest_aprqa.defects.defect import Defect
    from pytest_aprqa.falsify.checks import Attempt
    from pytest_aprqa.falsify.faults import Fault


ALL_MODALITIES = ("run", "chat", "serve")
# A minimum that no engine reaches which sleeps before each answer, and every other engine does.
SPEED_ASKED = {"enabled": True, "warmup": 0, "measure": 2, "assertions": {"min_throughput_cpu": 1000}}


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
        from pytest_aprqa.lifecycle.errors import LifecycleError

        started = time.perf_counter()
        if "chat-template" in self.defect.name and "chat" not in self.base.playbook.matrix.modalities:
            self.expected = dataclasses.replace(self.expected, also=())  # nobody renders the template
        self.result = {"kind": "defect", **self.defect.to_json(), "base": "", "verdict": ERROR}
        with self.copy_folder() as folder:
            self.result["base"] = self.base.note
            try:
                truth = plant(self.defect, self.base, folder, cache_folder())
            except (DefectNotApplicableError, LifecycleError) as error:
                self.result |= {"verdict": NOT_APPLICABLE, "cause": str(getattr(error, "problem", error))}
                pytest.skip(f"not applicable to this model: {self.result['cause']}")
            tried = self._try(folder, truth)
        self.result |= judged(tried, self.expected, folder) | {"seconds": round(time.perf_counter() - started, 3)}
        if self.result["verdict"] != KILLED:
            raise DefectSurvived(survival_text(self.result))

    def _try(self, folder: Path, truth: Path | None) -> list[Attempt]:
        """Checks without an engine all run (they cost little); the others until one is right, or all on demand."""
        from pytest_aprqa.falsify.checks import attempts
        from pytest_aprqa.options import option_or_ini

        everything = bool(option_or_ini(self.config, "--falsify-all-gates"))
        defect = self.defect
        dtype = defect.base or QUANTISATION
        model = self.model_at(
            folder,
            (defect.format,),
            dtype,
            prompts=defect.prompts or PROMPTS,
            timeout_ms=TIMEOUT_MS if defect.prompts is None else HANG_TIMEOUT_MS,
            against=truth,
        )
        model.derived = defect.format if defect.derived else None
        tried: list[Attempt] = []

        def open_question() -> bool:
            return everything or not is_answered(tried, self.expected)

        soon = (*self.expected.gates, *self.expected.also)
        for attempt in attempts(self, model, (defect.format,), before_engine=open_question, first=soon):
            tried.append(attempt)
        return tried


class FaultItem(FalsifyItem):
    """`falsify[engine-drifts]`: passes when the expected gate refutes the engine and names its fault."""

    def __init__(self, *, fault: Fault, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.fault = fault
        self.extra_keyword_matches.update({"defect", "engine"})

    def runtest(self) -> None:
        """Run the expected gate's checks on the clean base, with the engine that has the fault."""
        from pytest_aprqa.falsify.checks import attempts

        started = time.perf_counter()
        self.result = {"kind": "defect", **self.fault.to_json(), "base": self.base.note, "verdict": ERROR}
        expected = self.fault.expected
        gates = (*expected.gates, *expected.also)
        with self.copy_folder() as folder:
            link_source(self.base.folder, folder)
            model = self.model_at(folder, (GROUND_TRUTH,), QUANTISATION, modalities=ALL_MODALITIES, profile=SPEED_ASKED)
            model.settings = with_engine(model.settings, self.fault.target)
            tried = list(attempts(self, model, (GROUND_TRUTH,), before_engine=lambda: True, gates=gates))
        if all(attempt.outcome == "Skipped" for attempt in tried):
            reason = tried[0].cause if tried else "the suite has no such check"
            self.result |= {"verdict": NOT_APPLICABLE, "cause": reason}
            pytest.skip(f"the playbook does not ask for it: {reason}")
        self.result |= judged(tried, expected, folder) | {"seconds": round(time.perf_counter() - started, 3)}
        if self.result["verdict"] != KILLED:
            raise DefectSurvived(survival_text(self.result))


class ConverterItem(FalsifyItem):
    """`falsify[converter-gguf-tensor-scaled]`: a conversion must name what our own converter does wrong."""

    def __init__(self, *, defect: Defect, words: str, **keywords: Any) -> None:
        super().__init__(**keywords)
        from pytest_aprqa.defects.expectations import Expectation

        self.defect = defect
        self.expected = Expectation(("F-CONV-*",), words)
        self.extra_keyword_matches.update({"defect", "converter"})

    def runtest(self) -> None:
        """Run the conversions of the clean base until one names what the converter breaks in each file it writes."""
        from pytest_aprqa.falsify.checks import attempts

        started = time.perf_counter()
        fields = self.defect.to_json() | {"name": f"converter-{self.defect.name}", "format": "converter"}
        fields["title"] = f"our converter: {self.defect.title}"
        self.result = {"kind": "defect", **fields, "base": self.base.note, "verdict": ERROR}
        tried: list[Attempt] = []
        with self.copy_folder() as folder, broken_converter(self.defect):
            link_source(self.base.folder, folder)
            formats = (GROUND_TRUTH, self.defect.format)
            model = self.model_at(folder, formats, QUANTISATION)
            going = attempts(self, model, formats, before_engine=lambda: False, gates=(CONVERSIONS,), conversions=True)
            with contextlib.closing(going):
                for attempt in going:
                    tried.append(attempt)
                    if is_answered(tried, self.expected):
                        break
        self.result |= judged(tried, self.expected, folder) | {"seconds": round(time.perf_counter() - started, 3)}
        if self.result["verdict"] != KILLED:
            raise DefectSurvived(survival_text(self.result))


@contextlib.contextmanager
def broken_converter(defect: Defect) -> Iterator[None]:
    """Every file of the defect's format that a conversion writes in this process meanwhile has the defect."""
    from pytest_aprqa.lifecycle import conversion_paths

    real = conversion_paths.convert_once

    def convert_once(start: Path, step: str, folder: Path, **options: Any) -> Path:
        made = real(start, step, folder, **options)
        if step == defect.format:
            defect.operation(made)
        return made

    conversion_paths.convert_once = convert_once
    try:
        yield
    finally:
        conversion_paths.convert_once = real


def with_engine(settings: Any, target: str) -> Any:
    """The settings with one engine for every format: `target` is `module:Class`."""
    from pytest_aprqa.engines.plugins import EnginePlugin

    plugin = EnginePlugin("misbehaving", target)
    return dataclasses.replace(settings, engine=(plugin.name,), plugins=(plugin,))
