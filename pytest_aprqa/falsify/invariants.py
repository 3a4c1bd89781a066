"""`--falsify-invariants`: Hypothesis draws small models, our converters make their files, the invariants judge them.

A clean file that an invariant refutes, and a planted defect that its invariant does not see, are counter-examples.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify.bases import link_source
from pytest_aprqa.falsify.item import CleanModelRejected, DefectSurvived, FalsifyItem
from pytest_aprqa.falsify.verdict import ERROR

if TYPE_CHECKING:
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.defects.defect import Defect

GATES = {
    "I-1": ("F-HFP-001", "F-PARITY-001", "F-CONTRACT-I1-001", "F-GOLDEN-RULE-001"),
    "I-2": ("F-CONTRACT-I2-001",),
    "I-3": ("F-CONTRACT-I3-001",),
    "I-4": ("F-CONTRACT-I4-001",),
    "I-5": ("F-CONTRACT-I5-001",),
}
WITH_ENGINE = "I-1"
DEFAULT_EXAMPLES = 20
DEFAULT_FOLDER = "counter-examples"
SHARE_WITH_ENGINE = 10  # an engine loads every model
LARGEST_EXAMPLES = 999_999
SHORTENING_SECONDS = 20.0  # that Hypothesis looks for a simpler counter-example


def invariant_items(file: PlaybookFile) -> Iterator[InvariantItem]:
    """For each invariant a clean item, and one with planted defects if it needs no engine. UsageError: no library."""
    if importlib.util.find_spec("hypothesis") is None:
        raise pytest.UsageError("--falsify-invariants needs Hypothesis: pip install 'pytest-aprqa[invariants]'")
    for invariant in GATES:
        yield InvariantItem.from_parent(file, name=f"falsify[clean-{invariant}]", invariant=invariant, planted=False)
        if invariant != WITH_ENGINE:
            yield InvariantItem.from_parent(
                file, name=f"falsify[planted-{invariant}]", invariant=invariant, planted=True
            )


def examples_asked(config: pytest.Config) -> int:
    """`--falsify-invariants-examples`. A usage error for what is no number from 1 up."""
    from pytest_aprqa.options import option_or_ini

    text = option_or_ini(config, "--falsify-invariants-examples")
    if text is None:
        return DEFAULT_EXAMPLES
    if not re.fullmatch(r"[1-9]\d{0,5}", str(text)):
        limit = f"a whole number from 1 to {LARGEST_EXAMPLES}"
        raise pytest.UsageError(f"--falsify-invariants-examples: found {text!r}, limit {limit}")
    return int(text)


def counter_example_folder(config: pytest.Config) -> Path:
    """`--falsify-invariants-folder`, below the root folder unless absolute."""
    from pytest_aprqa.options import option_or_ini

    return config.rootpath / str(option_or_ini(config, "--falsify-invariants-folder") or DEFAULT_FOLDER)


class InvariantItem(FalsifyItem):
    """`falsify[clean-I-4]`, `falsify[planted-I-4]`: kept counter-examples first, then new models."""

    def __init__(self, *, invariant: str, planted: bool, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.invariant, self.planted = invariant, planted
        self.tried = self.not_applicable = self.seen_by_others = 0
        self.extra_keyword_matches.update({invariant, "planted" if planted else "clean"})

    @property
    def kept(self) -> Path:
        """Folder of this item's counter-examples."""
        return counter_example_folder(self.config) / f"{'planted' if self.planted else 'clean'}-{self.invariant}"

    def runtest(self) -> None:
        """Try the kept examples, then those that Hypothesis draws. A new counter-example is kept, shortened."""
        started = time.perf_counter()
        self.result = {"kind": "invariant", "name": self.kept.name, "verdict": ERROR}
        for path in sorted(self.kept.glob("*.json")):
            self._try_kept(path)
        count = examples_asked(self.config)
        if self.invariant == WITH_ENGINE:
            count = max(1, count // SHARE_WITH_ENGINE)
        self._draw(count)
        self.result |= {
            "verdict": "held" if self.tried else "not tried",
            "examples": self.tried,
            "not_applicable": self.not_applicable,
            "seen_by_others": self.seen_by_others,
            "seconds": round(time.perf_counter() - started, 3),
        }
        if not self.tried:
            raise CleanModelRejected(f"{self.kept.name}: no model could be tried: nothing is proven")

    def _try_kept(self, path: Path) -> None:
        try:
            example = json.loads(path.read_text(encoding="utf-8"))["example"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CleanModelRejected(f"{path}: is no counter-example: {error}; remove it") from None
        self.attempt(example)

    def _draw(self, count: int) -> None:
        from hypothesis import HealthCheck, given, settings
        from hypothesis.database import DirectoryBasedExampleDatabase

        from pytest_aprqa.falsify.invariants_examples import examples

        failed: dict[str, Exception] = {}
        until: list[float] = []

        @settings(
            max_examples=count,
            deadline=None,
            database=DirectoryBasedExampleDatabase(self.kept / "database"),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(examples(self.invariant, planted=self.planted))
        def attempt(example: dict[str, Any]) -> None:
            key = json.dumps(example, sort_keys=True)
            if key in failed:
                failed[key] = failed.pop(key)  # the last one is the shortest
                raise failed[key]
            if until and time.monotonic() > until[0]:
                return
            try:
                self.attempt(example)
            except (CleanModelRejected, DefectSurvived) as error:
                failed[key] = error
                until[:] = until or [time.monotonic() + SHORTENING_SECONDS]
                raise

        try:
            attempt()
        except (CleanModelRejected, DefectSurvived) as error:
            self.result["counter_example"] = str(self._keep(json.loads(list(failed)[-1]), str(error)))
            self.result["examples"] = self.tried
            raise

    def _keep(self, example: dict[str, Any], reason: str) -> Path:
        text = json.dumps({"example": example, "reason": reason}, indent=1, sort_keys=True) + "\n"
        name = hashlib.sha256(json.dumps(example, sort_keys=True).encode()).hexdigest()[:12]
        self.kept.mkdir(parents=True, exist_ok=True)
        path = self.kept / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        return path

    def attempt(self, example: dict[str, Any]) -> None:
        """Make the model and the file of `example` and judge it. CleanModelRejected or DefectSurvived."""
        from pytest_aprqa.defects.catalogue import DEFECTS
        from pytest_aprqa.defects.errors import DefectNotApplicableError
        from pytest_aprqa.lifecycle.derive import derive
        from pytest_aprqa.random_models import random_model_folder

        defect = DEFECTS[example["defect"]] if example.get("defect") else None
        with self.copy_folder() as folder:
            source = random_model_folder(folder.with_name("source"), example["seed"], **example["shape"])
            if defect is not None:
                try:
                    source = defect.prepare(source, folder.with_name("prepared"))
                except DefectNotApplicableError:
                    self.not_applicable += 1
                    return
            made = derive(source, example["format"], cache=folder.with_name("cache"), dtype=example["dtype"])
            link_source(source, folder)
            target = folder / f"model.{example['format']}"
            try:
                if defect is None:
                    made.path.rename(target)
                else:
                    defect.apply(made.path, target)
            except DefectNotApplicableError:
                self.not_applicable += 1
                return
            self._judge(folder, example, defect)

    def _judge(self, folder: Path, example: dict[str, Any], defect: Defect | None) -> None:
        from pytest_aprqa.falsify.checks import attempts

        dtype = example["dtype"] if example["dtype"] != "native" else example["shape"]["dtype"].lower()
        model = self.model_at(folder, (example["format"],), dtype, is_base=False)
        gates = GATES[self.invariant]
        if defect is not None:  # an untied head, say, turns a new tensor into a changed one: another invariant's matter
            gates += tuple(gate for name in GATES if name not in (WITH_ENGINE, self.invariant) for gate in GATES[name])
        tried = list(attempts(self, model, (example["format"],), before_engine=lambda: True, gates=gates))
        told = f"{self.kept.name}: {json.dumps(example, sort_keys=True)}"
        ran = [one for one in tried if one.outcome != "Skipped"]
        if not ran:
            raise CleanModelRejected(f"{told}: no check of {self.invariant} ran: {[one.cause for one in tried]}")
        self.tried += 1
        refuted = [one for one in ran if one.refuted]
        self.seen_by_others += bool(refuted) and not any(one.gate in GATES[self.invariant] for one in refuted)
        if defect is None and refuted:
            raise CleanModelRejected(f"{told}: a sound model is refuted: {refuted[0].gate}: {refuted[0].cause}")
        if defect is not None and not refuted:
            raise DefectSurvived(f"{told}: {defect.title}, and {', '.join(gates)} did not see it")
