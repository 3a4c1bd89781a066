"""A playbook that was changed since it was locked is not run, nor collected, unless somebody says so."""

from __future__ import annotations

import hashlib

import pytest

from pytest_aprqa.cli.run import arguments_for_pytest
from pytest_aprqa.playbooks.lock import lock_text


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def changed(project):
    """A playbook two folders below its lock file, which lists it with the bytes of before."""
    path = project.write_playbook()
    place = project.path / "playbooks" / "models" / path.name
    place.parent.mkdir(parents=True)
    path = path.rename(place)
    before = sha256(path)
    (project.path / "playbooks" / "playbook.lock.yaml").write_text(lock_text({"small": before}))
    path.write_text(path.read_text() + "# changed\n")
    return path, before


def collect(project, *arguments):
    result = project.run("--collect-only", "-q", *arguments)
    return result.ret, result.stdout.str(), result.stderr.str()


@pytest.mark.parametrize("way", ["run", "name", "argument"])
def test_a_changed_playbook_is_one_line_of_usage(project, changed, way):
    path, before = changed
    arguments = {
        "run": arguments_for_pytest(str(path), ())[-2:],
        "name": ["--playbook", "small"],
        "argument": ["playbooks/models/small.playbook.yaml"],
    }[way]
    code, out, err = collect(project, *arguments)
    assert code == 4
    (line,) = [line for line in err.splitlines() if line.strip()]
    assert str(path) in line
    assert f"was changed since it was locked: expected sha256 {before} (found {sha256(path)})" in line
    assert "aprqa lock-playbooks, or run it with --no-integrity-check" in line
    assert "file_is_sound" not in out


def test_it_is_run_when_somebody_says_so(project, changed):
    code, out, _ = collect(project, "--playbook", "small", "--no-integrity-check", "-v")
    assert code == 0
    assert "warning: small.playbook.yaml is not compared with a lock file (--no-integrity-check)" in out
    assert "file_is_sound" in out


def test_aprqa_run_passes_the_option_on():
    assert arguments_for_pytest("small", ("--no-integrity-check",))[-1] == "--no-integrity-check"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (lambda path: lock_text({"small": sha256(path)}), False),  # locked anew
        (lambda path: lock_text({"other": "0" * 64}), False),  # the lock does not list it
        (lambda path: "entries: 3\n", True),
    ],
)
def test_what_is_locked_as_it_is_or_not_at_all_is_run(project, changed, text, warned):
    path, _ = changed
    (project.path / "playbooks" / "playbook.lock.yaml").write_text(text(path))
    code, out, _ = collect(project, "--playbook", "small", "-v")
    assert code == 0
    assert "file_is_sound" in out
    assert ("is not compared with its lock file" in out) is warned
