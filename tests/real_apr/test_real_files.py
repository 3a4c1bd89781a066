"""The rows of the reference page on real files, measured again: verdict, gates, and what the program says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.engines.apr_known_defects import KNOWN_DEFECTS
from pytest_aprqa.tool_audit import NOT_SHOWN
from tests.model_fixtures import write_random_llama
from tests.real_apr.damaged_files import DAMAGES
from tests.real_apr.measurement import measure_all, measure_known
from tests.real_apr.real_files import RECIPES, from_json, make_files
from tests.real_apr.real_models import TINY_QWEN2, WIDE
from tests.real_apr.real_program import Apr

PAGE = json.loads((Path(__file__).parents[2] / "docs" / "reference" / "real-files.json").read_text(encoding="utf-8"))
SECTIONS = ("tiny-qwen2", "wide-llama", "damaged")
ROWS = [(section, row["file"]) for section in SECTIONS for row in PAGE[section]]


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if "real_apr" not in request.config.getoption("markexpr"):
        pytest.skip("measuring takes a minute: tox -e apr, or pytest -m real_apr")
    apr: Apr = request.getfixturevalue("apr")
    return measure_all(apr, tmp_path_factory.mktemp("real-files"))


@pytest.mark.slow
@pytest.mark.parametrize(("section", "file"), ROWS)
def test_a_row_of_the_page_is_still_true(measured: dict[str, Any], section: str, file: str) -> None:
    (recorded,) = (row for row in from_json(PAGE[section]) if row.file == file)
    (now,) = (row for row in from_json(measured[section]) if row.file == file)
    assert (now.verdict, now.gates()) == (recorded.verdict, recorded.gates())
    assert now.program == recorded.program


@pytest.mark.slow
@pytest.mark.parametrize("command", [row["command"] for row in PAGE["behaviours"]])
def test_an_answer_that_cannot_be_believed_is_still_given(measured: dict[str, Any], command: str) -> None:
    (recorded,) = (row["measured"] for row in PAGE["behaviours"] if row["command"] == command)
    (now,) = (row["measured"] for row in measured["behaviours"] if row["command"] == command)
    assert now == recorded


def test_every_damage_and_every_recipe_has_a_row() -> None:
    assert {row["file"] for row in PAGE["tiny-qwen2"]} == set(RECIPES)
    assert {row["file"] for row in PAGE["damaged"]} == {"sound.apr", *(f"{name}.apr" for name in DAMAGES)}


def test_no_real_file_of_the_page_passes() -> None:
    """Each has a defect of the tool or a damage; the sound file and one without its footer are the exceptions."""
    rows = [
        row
        for name, section in PAGE.items()
        if name not in ("release", "behaviours", "known", "engines")
        for row in from_json(section)
    ]
    fine = {"sound.apr", "no-footer.apr"}
    assert {row.file for row in rows if row.verdict == "not refuted"} == fine


def test_every_known_defect_is_red_on_the_recorded_files() -> None:
    titles = [line for line in PAGE["known"] if line[:3].strip().isdigit()]
    assert titles == [f"{number:>3}. RED {one.what}" for number, one in enumerate(KNOWN_DEFECTS, 1)]


@pytest.mark.slow
def test_the_defects_that_are_known_are_still_there(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On files that the program makes now of two models, as the page shows it of the recorded ones."""
    if "real_apr" not in request.config.getoption("markexpr"):
        pytest.skip("measuring takes a minute: tox -e apr, or pytest -m real_apr")
    apr: Apr = request.getfixturevalue("apr")
    folder = tmp_path_factory.mktemp("known")
    (models := folder / "models").mkdir()
    (files := folder / "files").mkdir()
    shutil.copytree(TINY_QWEN2, models / "tiny-qwen2")
    write_random_llama(models / "wide-llama", changes={**WIDE, "head_dim": 64})
    for model in sorted(models.iterdir()):
        (made := folder / model.name).mkdir()
        make_files(apr, model, made)
        for name in ("import.apr", "export.gguf", "convert-int8.apr", "rosetta.gguf"):
            (made / name).rename(files / f"{model.name}.{name}")
    lines = measure_known(apr, sorted(files.iterdir()), models)
    assert [line for line in lines if NOT_SHOWN in line or "PARTLY" in line] == []
