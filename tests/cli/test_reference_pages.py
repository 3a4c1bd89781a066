import importlib.util
import json
from pathlib import Path

import pytest

from pytest_aprqa.cli.main import COMMANDS
from pytest_aprqa.cli.report import FORMATS
from pytest_aprqa.evidence import validation

SCRIPT = Path(__file__).parents[2] / "docs" / "generate_reference.py"


@pytest.fixture
def generator(tmp_path, monkeypatch):
    specification = importlib.util.spec_from_file_location("generate_reference", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "REFERENCE", tmp_path)
    monkeypatch.setattr(module, "PAGES", {"cli.md": module.cli_page})
    return module


def test_every_command_and_option_is_on_the_page(generator):
    page = generator.cli_page()
    assert all(f"## `aprqa {name}`" in page for name in COMMANDS)
    assert "`--compat`" in page
    assert "`--formats` `" + "\\|".join(FORMATS) + "`" in page
    assert "```text\naprqa score evidence/latest --json\n" in page


def test_every_field_of_the_schema_is_on_the_page():
    specification = importlib.util.spec_from_file_location("generate_reference", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    page = module.evidence_page()
    entry = json.loads(validation.SCHEMA_FILE.read_text())["$defs"]["entry"]
    assert all(f"| `{name}` |" in page for name in entry["properties"])


def test_check_is_silent_when_a_page_is_current_and_fails_when_it_is_not(generator, tmp_path, capsys):
    assert generator.main([]) == 0
    assert generator.main(["--check"]) == 0
    capsys.readouterr()
    page = tmp_path / "cli.md"
    page.write_text(page.read_text().replace("--compat", "--old"))
    assert generator.main(["--check"]) == 1
    shown = capsys.readouterr()
    assert "--compat" in shown.out
    assert "run python docs/generate_reference.py" in shown.err
    assert "--old" in page.read_text()


def test_wrong_use_is_exit_code_2(generator):
    assert generator.main(["--chekc"]) == 2
