"""The items of `--falsify` for one playbook: the base clean, defects, faults, lies of records, random clean models."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.falsify.bases import GROUND_TRUTH
from pytest_aprqa.falsify.clean import FORMATS, CleanEngineItem, CleanItem
from pytest_aprqa.falsify.defects import ConverterItem, DefectItem, FaultItem
from pytest_aprqa.falsify.faults import CONVERTER_DEFECTS, FAULTS
from pytest_aprqa.falsify.item import FalsifyItem
from pytest_aprqa.falsify.record_lies import LIES
from pytest_aprqa.falsify.records import RecordItem
from pytest_aprqa.falsify.verdict import ERROR, LONGEST_CAUSE

if TYPE_CHECKING:
    from pytest_aprqa.collection import PlaybookFile

FALSIFY_PROPERTY = "aprqa_falsify"
DEFAULT_CLEAN = 4


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
    yield CleanEngineItem.from_parent(file, name="falsify[clean-engine]")
    yield RecordItem.from_parent(file, name="falsify[clean-record]")
    for defect in DEFECTS.values():
        if defect.format in formats:
            yield DefectItem.from_parent(file, name=f"falsify[{defect.name}]", defect=defect)
    for fault in FAULTS:
        yield FaultItem.from_parent(file, name=f"falsify[engine-{fault.name}]", fault=fault)
    for lie in LIES:
        yield RecordItem.from_parent(file, name=f"falsify[record-{lie.name}]", lie=lie)
    for name, words in CONVERTER_DEFECTS.items():
        defect = DEFECTS[name]
        if {GROUND_TRUTH, defect.format} <= set(formats):
            yield ConverterItem.from_parent(file, name=f"falsify[converter-{name}]", defect=defect, words=words)
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
