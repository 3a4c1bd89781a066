"""Rules of the house that can be read from the files: sizes, names, docstrings, changelog, nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "pytest_aprqa"
LINES_OF_A_FILE = 450
LINES_OF_A_FUNCTION = 60
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "stuff"}
TEXT_SUFFIXES = {".py", ".md", ".toml", ".ini", ".yaml", ".yml", ".json", ".cfg", ".txt", ".svg", ".sh", ".jinja", ""}

# Written in parts so that this file does not find itself.
HOSTS = re.compile(
    "|".join(("pypi" + r"\.org", "pythonhosted" + r"\.org", "download\\." + "pytorch", "index" + "-url"))
)
MACHINE_PATHS = re.compile(r"(?<![\w.}])/(?:" + "work|root|home" + r")/[a-z]")


def repository_files() -> list[Path]:
    """Files that git tracks; in a copy without git, all files of the known folders."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return [path for name in result.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]
    folders = ("pytest_aprqa", "tests", "docs", "examples", "benchmarks", "playbooks", "models", "training")
    return [p for folder in folders for p in (REPOSITORY / folder).rglob("*") if p.is_file()]


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)


def names(paths):
    return [str(path.relative_to(REPOSITORY)) for path in paths]


def test_files_can_be_read_in_one_sitting():
    long = {
        name: lines
        for path, name in zip(sources(), names(sources()), strict=True)
        if (lines := path.read_text(encoding="utf-8").count("\n")) > LINES_OF_A_FILE
    }
    assert not long


def test_functions_can_be_read_at_one_glance():
    long = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                size = node.end_lineno - node.lineno + 1
                if size > LINES_OF_A_FUNCTION:
                    long.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name} ({size} lines)")
    assert not long, "\n".join(long)


def test_every_module_says_what_lives_there():
    silent = [p for p in sources() if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert not names(silent)


def test_module_docstrings_are_at_most_three_lines():
    long = []
    for path in sources():
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if text.count("\n") > 2:
            long.append(path)
    assert not names(long)


def test_names_say_something():
    assert not names(p for p in sources() if p.stem in VAGUE_NAMES or p.parent.name in VAGUE_NAMES)


def test_test_files_have_unique_names():
    seen: dict[str, str] = {}
    twice = []
    for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        name = str(path.relative_to(REPOSITORY))
        if path.name in seen:
            twice.append(f"{name} and {seen[path.name]}")
        seen[path.name] = name
    assert not twice


def test_changelog_has_the_present_version():
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = re.findall(r"^## (\S+)", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert version in headings


def test_the_package_knows_its_version():
    import pytest_aprqa

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert pytest_aprqa.__version__ == project["version"]


@pytest.mark.parametrize(
    ("pattern", "meaning"), [(HOSTS, "a package registry"), (MACHINE_PATHS, "a path of one machine")]
)
def test_nothing_names(pattern, meaning):
    found = []
    for path in repository_files():
        if path.suffix not in TEXT_SUFFIXES or path.name == "LICENSE" or path.stat().st_size > 2_000_000:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}")
    assert not found, f"{meaning} is named:\n" + "\n".join(found)


def test_the_patterns_see_what_they_are_for():
    assert HOSTS.search("see https://" + "pypi" + ".org/simple")
    assert MACHINE_PATHS.search("open('" + "/root" + "/x.txt')")
    assert not MACHINE_PATHS.search("{cache}/work/x")
