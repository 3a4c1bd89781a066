"""Models of few values a row: each defect is seeded, or says that it is not applicable; nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.defects.catalogue import DEFECTS
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.random_models import random_model_folder

ROWS_OF_8 = {"hidden": 8, "intermediate": 8, "heads": 1, "kv_heads": 1, "head_dim": 8, "layers": 1, "family": "qwen2"}
BLOCKS_OF_32 = {"precision-lost", "apr-precision-lost", "gguf-precision-lost"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, str]:
    """By defect: "" where it was seeded, else why it cannot happen to this model."""
    folder: Path = tmp_path_factory.mktemp("small")
    model = random_model_folder(folder / "model", 3, **ROWS_OF_8)
    found = {}
    for name, defect in DEFECTS.items():
        target = folder / "broken" / f"{name}.{defect.format}"
        try:
            source = defect.prepare(model, folder / f"source-{name}")
            if defect.format != "safetensors":
                source = derive(source, defect.format, cache=folder / "cache", dtype=defect.base).path
            defect.apply(source, target)
            found[name] = ""
        except DefectNotApplicableError as error:
            assert not target.exists()
            found[name] = str(error)
    return found


def test_most_defects_can_happen_to_rows_of_eight(outcomes):
    assert set(outcomes) == set(DEFECTS)
    assert sum(not reason for reason in outcomes.values()) > len(DEFECTS) * 3 // 4


@pytest.mark.parametrize("name", sorted(BLOCKS_OF_32))
def test_a_type_of_blocks_of_32_has_nothing_to_lose_in_rows_of_eight(outcomes, name):
    assert "rows of a multiple of 32 elements, found 8" in outcomes[name]
