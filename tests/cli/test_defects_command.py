import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.defects.catalogue import DEFECTS


def test_the_list_names_every_defect_with_format_and_gateway(capsys):
    assert call(["defects", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DEFECTS)
    for line, defect in zip(lines, DEFECTS.values(), strict=True):
        assert line.split()[1:3] == [defect.format, defect.gateway]


@pytest.mark.parametrize("format_name", ["safetensors", "apr", "gguf"])
def test_the_list_can_be_one_format_as_json(format_name, capsys):
    assert call(["defects", "list", "--format", format_name, "--json"]) == 0
    names = [defect["name"] for defect in json.loads(capsys.readouterr().out)]
    assert names == [defect.name for defect in DEFECTS.values() if defect.format == format_name]


def test_an_unknown_defect_is_one_line_with_close_matches(tmp_path, capsys):
    name = next(iter(DEFECTS))
    assert call(["defects", "apply", name[:-1], str(tmp_path), str(tmp_path / "broken")]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert name in message
    assert not (tmp_path / "broken").exists()


def test_a_defect_goes_into_the_copy_and_the_source_stays(random_qwen2_folder, tmp_path, capsys):
    before = {path.name: path.read_bytes() for path in random_qwen2_folder.iterdir()}
    name = next(defect.name for defect in DEFECTS.values() if defect.format == "safetensors")
    assert call(["defects", "apply", name, str(random_qwen2_folder), str(tmp_path / "broken")]) == 0
    assert DEFECTS[name].gateway in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in random_qwen2_folder.iterdir()} == before
    assert {path.name: path.read_bytes() for path in (tmp_path / "broken").iterdir()} != before


def test_a_target_that_exists_is_refused(random_qwen2_folder, tmp_path, capsys):
    name = next(defect.name for defect in DEFECTS.values() if defect.format == "safetensors")
    assert call(["defects", "apply", name, str(random_qwen2_folder), str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_source_that_is_not_there_is_wrong_use(tmp_path, capsys):
    assert call(["defects", "apply", next(iter(DEFECTS)), str(tmp_path / "no"), str(tmp_path / "broken")]) == 2
    assert "does not exist" in capsys.readouterr().err
