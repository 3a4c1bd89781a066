"""`pytest --help` stays fast: the plugin module imports nothing heavy. Read from a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_aprqa.cli.main import COMMANDS

PACKAGE = Path(__file__).resolve().parents[2] / "pytest_aprqa"
HEAVY = ("numpy", "torch", "transformers", "tokenizers", "jinja2", "yaml", "jsonschema", "httpx", "rich", "click")


def modules_after(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(' '.join(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    )
    return set(result.stdout.split())


def test_plugin_module_imports_nothing_heavy():
    modules = modules_after("import pytest_aprqa.plugin")
    assert "pytest_aprqa.plugin" in modules
    assert not modules & set(HEAVY)


def test_heavy_imports_would_be_seen():
    assert modules_after("import numpy") & set(HEAVY)


def test_help_imports_nothing_heavy(tmp_path):
    program = (
        "import pytest, sys\n"
        "code = pytest.main(['--help', '-p', 'pytest_aprqa.plugin', '-p', 'no:cacheprovider'])\n"
        "print('HEAVY', sorted(set(sys.modules) & set(sys.argv[1:])), 'CODE', int(code))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, *HEAVY],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(PACKAGE.parent)},
        check=False,
    )
    assert "--playbook=NAME_OR_PATH" in result.stdout, result.stderr
    assert result.stdout.splitlines()[-1] == "HEAVY [] CODE 0"


@pytest.mark.parametrize("name", ["pytest_aprqa.cli.main"])
def test_command_line_starts_without_torch(name):
    assert not modules_after(f"import {name}") & {"torch", "transformers"}


def test_private_names_of_pytest_are_used_in_one_file():
    private = {"_getobj", "_tw", "_fixturemanager", "_pyfuncitem", "_fixtureinfo", "_setupstate", "_parser"}
    users = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = ""
            if isinstance(node, ast.Attribute):
                name = node.attr
            elif isinstance(node, ast.FunctionDef):
                name = node.name
            elif isinstance(node, ast.ImportFrom):
                name = (node.module or "").split(".")[0]
            if name in private or name == "_pytest":
                users.setdefault(path.name, []).append(f"{node.lineno}: {name}")
    assert set(users) <= {"collection.py"}, users


# Modules that a command may need for its work, but none of these for its help, and none at all for a list of names.
SLOW_TO_IMPORT = {*HEAVY, "psutil", "pytest", "huggingface_hub", "safetensors", "gguf", "hypothesis", "filelock", "ssl"}
SLOW_TO_IMPORT |= {"asyncio", "multiprocessing", "http.client", "urllib.request", "xml.etree.ElementTree", "email"}


def imported_by_command(*arguments: str) -> set[str]:
    """What `aprqa ARGUMENTS` has imported when it ends, in an interpreter of its own."""
    call = "import contextlib, io\nfrom pytest_aprqa.cli.main import call\nout = io.StringIO()\n"
    return modules_after(f"{call}with contextlib.redirect_stdout(out):\n    call({list(arguments)!r})")


def test_slow_modules_are_seen():
    assert modules_after("import ssl, filelock") & SLOW_TO_IMPORT


QUICK = [("--help",), ("--version",), ("list",), *((name, "--help") for name in sorted(COMMANDS))]


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_a_command_starts_without_slow_modules(arguments):
    """Instead of a clock: click and the standard library's small modules take 40 ms over bare Python."""
    assert imported_by_command(*arguments) & SLOW_TO_IMPORT == {"click"}


def test_doctor_looks_without_importing_what_it_looks_for():
    assert not imported_by_command("doctor") & {"numpy", "torch", "transformers", "tokenizers", "gguf", "pytest"}


def test_scores_and_reports_need_no_numbers_library(tmp_path):
    (tmp_path / "evidence.json").write_text("[]")
    assert not imported_by_command("score", str(tmp_path)) & {"numpy", "torch", "jinja2", "yaml", "pytest"}
