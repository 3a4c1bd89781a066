"""`aprqa tools --against`: files beside their source, and the known defects of the release line by line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.tools import command
from pytest_aprqa.engines.apr_known_defects import KNOWN_DEFECTS, Observation
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.tool_audit import known_lines, show_lines, source_of
from tests.plugin.conftest import TINY_MODEL

FAKE = Path(__file__).parents[1] / "engines" / "fake_apr.py"


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "apr"
    path.write_text(f"#!{sys.executable}\n" + FAKE.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def models(tmp_path, random_llama_folder, random_qwen2_folder):
    folder = tmp_path / "models"
    folder.mkdir()
    for name, source in (("one", random_llama_folder), ("one.b", random_qwen2_folder)):
        (folder / name).symlink_to(source)
    (folder / "no-model").mkdir()
    return folder


def test_the_source_is_the_folder_or_the_longest_name_in_it(models, random_llama_folder):
    names = {"one.apr": "one", "one.b.gguf": "one.b", "one.bx.apr": "one", "one": "one", "onerous.apr": None}
    for name, expected in names.items():
        found = source_of(Path(name), models)
        assert (found and found.name) == expected, name
    assert source_of(Path("no-model.apr"), models) is None
    assert source_of(Path("any.apr"), random_llama_folder) == random_llama_folder


def test_a_line_is_red_when_all_its_signs_are_found_on_files_of_their_kind():
    every = [
        Observation(f"model{sign.suffix or '.apr'}", sign.check, f"here: {sign.words}")
        for defect in KNOWN_DEFECTS
        for sign in defect.signs
    ]
    assert [line.red for line in known_lines(every)] == [True] * len(KNOWN_DEFECTS)
    assert [line.red for line in known_lines([])] == [False] * len(KNOWN_DEFECTS)
    for number, defect in enumerate(KNOWN_DEFECTS):
        for sign in defect.signs:
            lines = known_lines([one for one in every if not sign.of([one])])
            assert not lines[number].red, (defect.what, sign)
    elsewhere = [Observation("model.safetensors", one.check, one.words) for one in every]
    assert not known_lines(elsewhere)[0].red


def test_lines_as_text_name_the_file_the_words_and_how_many_more():
    check, words = "rosetta-convert", "quantised without being asked: 15 F32"
    found = [Observation(name, check, words) for name in ("a.apr", "b.apr", "a.apr")]
    text = list(show_lines(known_lines(found), lambda word, **style: word))
    assert "  4. PARTLY RED rosetta convert to GGUF quantises without being asked" in text
    assert f"       {check}: a.apr (and 1 more): {words}" in text
    assert "       F-CONTRACT-I3-001: not shown by these files" in text
    assert sum(line.startswith(" ") and ". not shown" in line for line in text) == len(KNOWN_DEFECTS) - 1


def test_the_command_compares_files_with_their_source(program, tmp_path):
    cache = tmp_path / "cache"
    sound = derive(TINY_MODEL, "apr", cache=cache).path
    damaged = tmp_path / "damaged.apr"
    damaged.write_bytes(sound.read_bytes()[:-100])
    words = [str(sound), str(damaged), "--no-gpu", "--apr-binary", str(program), "-o", str(tmp_path / "out")]
    shown = CliRunner().invoke(command, [*words, "--against", str(TINY_MODEL), "--depth", "structure"])
    assert shown.exit_code == 1, shown.output
    assert "What release 0.72.3 is known to get wrong, on these files:" in shown.output
    assert "  damaged.apr: G0-INTEGRITY-FILE: " in shown.output
    assert f"  {sound.name}: G0" not in shown.output
    entries = json.loads((tmp_path / "out" / "tool_tests.json").read_text(encoding="utf-8"))
    assert {entry["model"] for entry in entries if "tool" in entry} == {str(sound), str(damaged)}
    assert {entry["file"] for entry in entries if "check" in entry} == {"damaged.apr"}


def test_a_folder_without_a_model_of_that_name_is_said(program, models, tmp_path):
    model = tmp_path / "stranger.apr"
    model.write_bytes(b"APR\0")
    words = [
        str(model),
        "--no-gpu",
        "--apr-binary",
        str(program),
        "-o",
        str(tmp_path / "out"),
        "--against",
        str(models),
    ]
    shown = CliRunner().invoke(command, words)
    assert shown.exit_code == 1
    assert f"no model in {models} has a name that stranger.apr begins with" in shown.output
    assert "Compared with" in shown.output
    assert ": 0 findings" in shown.output
