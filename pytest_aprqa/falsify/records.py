"""The records under `--falsify`: a true `.provenance.json` is accepted, one that lies is refuted by its rule."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.falsify.bases import GROUND_TRUTH, QUANTISATION, link_source
from pytest_aprqa.falsify.item import DefectSurvived, FalsifyItem
from pytest_aprqa.falsify.record_lies import RULES_GATE, true_record
from pytest_aprqa.falsify.verdict import ERROR, KILLED, NOT_APPLICABLE, judged, survival_text

if TYPE_CHECKING:
    from pytest_aprqa.falsify.checks import Attempt
    from pytest_aprqa.falsify.record_lies import Lie

DERIVED = ("apr", "gguf")
FORMATS = (GROUND_TRUTH, *DERIVED)


class RecordItem(FalsifyItem):
    """`falsify[record-file-missing]`; without a lie `falsify[clean-record]`, which every rule must accept."""

    def __init__(self, *, lie: Lie | None = None, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.lie = lie
        self.extra_keyword_matches.update({"record", "defect" if lie else "clean"})

    def runtest(self) -> None:
        """Write the record beside the base in three formats and run every rule."""
        started = time.perf_counter()
        clean = {"kind": "clean", "name": "clean-record"}
        fields = clean if self.lie is None else {"kind": "defect", **self.lie.to_json(), "base": self.base.note}
        self.result = {**fields, "verdict": ERROR}
        with self.copy_folder() as folder:
            tried = self._try(folder)
            if self.lie is None:
                self.conclude(tried)
                return
            self.result |= judged(tried, self.lie.expected, folder)
        self.result["seconds"] = round(time.perf_counter() - started, 3)
        if self.result["verdict"] != KILLED:
            raise DefectSurvived(survival_text(self.result))

    def _try(self, folder: Path) -> list[Attempt]:
        from pytest_aprqa.falsify.checks import attempts
        from pytest_aprqa.lifecycle.cache import cache_folder
        from pytest_aprqa.lifecycle.derive import derive
        from pytest_aprqa.lifecycle.errors import LifecycleError
        from pytest_aprqa.models.provenance import write_provenance

        link_source(self.base.folder, folder)
        weights = next((path for path in sorted(folder.glob("*.safetensors"))), None)
        try:
            for name in DERIVED:
                made = derive(self.base.folder, name, cache=cache_folder())
                shutil.copyfile(made.path, folder / f"model.{name}")
        except LifecycleError as error:
            self.result |= {"verdict": NOT_APPLICABLE, "cause": str(error)}
            pytest.skip(f"this model has no such file: {error}")
        assert weights is not None, f"{folder} was chosen as a base for its SafeTensors weights"
        record = true_record(folder, {GROUND_TRUTH: weights.name} | {name: f"model.{name}" for name in DERIVED})
        write_provenance(folder, record if self.lie is None else self.lie.told(record))
        model = self.model_at(folder, FORMATS, QUANTISATION)
        return list(attempts(self, model, FORMATS, before_engine=lambda: False, gates=(RULES_GATE,)))
