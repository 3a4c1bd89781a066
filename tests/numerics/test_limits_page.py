"""The page of limits says what the table says, and its check can fail."""

import importlib.util
from pathlib import Path

import pytest

from pytest_aprqa.numerics.limits import limits_table

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_limits_page.py"


@pytest.fixture
def generator():
    specification = importlib.util.spec_from_file_location("generate_limits_page", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_table(generator):
    assert generator.PAGE.read_text(encoding="utf-8") == generator.page(), "run python docs/generate_limits_page.py"


def test_the_check_of_the_page_can_fail(generator, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(generator, "PAGE", tmp_path / "limits.md")
    monkeypatch.setattr("sys.argv", ["generate_limits_page.py", "--check"])
    assert generator.main() == 1
    assert "run python docs/generate_limits_page.py" in capsys.readouterr().out
    generator.PAGE.write_text(generator.page(), encoding="utf-8")
    assert generator.main() == 0


def test_every_type_and_source_is_on_the_page(generator):
    text, table = generator.page(), limits_table()
    for name in (*table["limits"], *table["head_slopes"]["types"], *table["behaviour"]["limits"]):
        assert f"| {name} |" in text
    for source in (*table["sources"].values(), *table["behaviour"]["sources"].values(), table["head_slopes"]["source"]):
        assert source in text
