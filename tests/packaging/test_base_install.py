"""`make demo` runs in the checkout with the base packages alone: what pytest reads there first needs no more."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = {
    "pytest-html": "pytest_html",
    "pytest-rerunfailures": "pytest_rerunfailures",
    "pytest-timeout": "pytest_timeout",
}
MODULES |= {"pytest-xdist": "xdist"}
BASE = {"safetensors"}  # brought by transformers
SCRIPT = """
import runpy, sys
for name in sys.argv[1:]:
    sys.modules[name] = None  # an import of it fails as if it were not installed
plugins = runpy.run_path("tests/conftest.py")["pytest_plugins"]
for name in plugins:
    if name != "pytester":
        __import__(name)
"""


def read_without(*modules: str) -> subprocess.CompletedProcess[str]:
    """conftest.py and its plugins in a new interpreter in which MODULES cannot be imported."""
    command = [sys.executable, "-c", SCRIPT, *modules]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_what_pytest_reads_first_needs_the_base_packages_alone():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    names = {text.partition(">")[0] for text in extras["test"]} - BASE
    assert {"hypothesis", "pytest-xdist"} <= names
    result = read_without(*(MODULES.get(name, name) for name in sorted(names)))
    assert result.returncode == 0, result.stderr


def test_a_package_that_is_missing_would_be_seen():
    result = read_without("tokenizers")
    assert result.returncode == 1
    assert "tokenizers" in result.stderr
