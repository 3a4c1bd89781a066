"""The wheel alone, in an empty folder: it carries suite, schemas, playbooks and model, and certifies the model."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CARRIED = [
    "pytest_aprqa/py.typed",
    "pytest_aprqa/suite/test_gateways.py",
    "pytest_aprqa/numerics/limits.json",
    "pytest_aprqa/_bundled/playbooks/models/tiny-qwen2-mvp.playbook.yaml",
    "pytest_aprqa/_bundled/playbooks/models/qwen-coder-mvp.playbook.yaml",
    "pytest_aprqa/_bundled/models/tiny-qwen2/model.safetensors",
    "pytest_aprqa/_bundled/models/tiny-qwen2/tokenizer.json",
    "pytest_aprqa/_bundled/models/tiny-qwen2/chat_template.jinja",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "build", "--wheel", *isolation, "--outdir", str(folder), str(REPOSITORY)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installation(wheel, tmp_path_factory):
    """The wheel unpacked: what an installer puts into site-packages, entry points included."""
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installation, folder, *arguments):
    """Run a module with the unpacked wheel first on the path, in a folder outside of the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installation), "APRQA_CACHE": str(folder / "cache"), "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_wheel_carries_what_a_run_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert set(CARRIED) <= names
    assert not [name for name in names if name.startswith(("tests/", "docs/", "training/", "benchmarks/"))]


def test_wheel_carries_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = REPOSITORY / "pytest_aprqa"
    files = {
        str(path.relative_to(REPOSITORY))
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "_bundled" not in path.parts
    }
    assert files <= names


def test_installed_wheel_certifies_the_bundled_model_in_an_empty_folder(installation, tmp_path):
    result = run_installed(
        installation, tmp_path, "pytest", "--playbook", "tiny-qwen2-mvp", "--no-gpu", "-p", "no:cacheprovider"
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    score = json.loads((tmp_path / "evidence" / "latest" / "mqs.json").read_text(encoding="utf-8"))
    assert score["status"] == "CERTIFIED"
    evidence = json.loads((tmp_path / "evidence" / "latest" / "evidence.json").read_text(encoding="utf-8"))
    paths = {entry["artifact"]["path"] for entry in evidence if entry.get("artifact")}
    assert any(path.startswith(str(installation)) for path in paths), paths
    assert not any(path.startswith(str(REPOSITORY)) for path in paths), paths


def test_installed_wheel_has_the_command_line(installation, tmp_path):
    program = "from pytest_aprqa.cli.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--version"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installation)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "0.1.0" in result.stdout
    points = (installation / "pytest_aprqa-0.1.0.dist-info" / "entry_points.txt").read_text(encoding="utf-8")
    assert "aprqa = pytest_aprqa.cli.main:main" in points
    assert "apr-qa = pytest_aprqa.cli.main:main" in points
