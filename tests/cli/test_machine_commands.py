"""`aprqa doctor` and `aprqa list`."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.cli import doctor
from pytest_aprqa.cli.main import call


def test_this_machine_can_run_what_its_tests_need(capsys):
    assert call(["doctor"]) == 0
    assert "everything that a run needs is here" in capsys.readouterr().out
    assert call(["doctor", "--json"]) == 0
    subjects = {finding["subject"] for finding in json.loads(capsys.readouterr().out)}
    assert {"python", "torch", "gpu", "apr", "memory", "work cache"} <= subjects


def test_a_missing_package_is_a_problem_with_advice(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "PACKAGES", (("no-such-package", "nothing"),))
    assert call(["doctor"]) == 1
    assert "no-such-package is not installed: nothing; pip install pytest-aprqa" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_look_that_fails_is_a_finding(monkeypatch, capsys):
    def broken():
        raise OSError("driver on fire")

    monkeypatch.setattr(doctor, "_gpu", broken)
    assert call(["doctor"]) == 1
    assert "driver on fire" in capsys.readouterr().out


@pytest.mark.parametrize(("free", "level"), [(doctor.LOWEST_FREE - 1, "note"), (doctor.LOWEST_FREE, "ok")])
def test_little_room_for_derived_files_is_said(monkeypatch, tmp_path, free, level):
    monkeypatch.setenv("APRQA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert next(doctor._cache()).level == level


@pytest.mark.parametrize("size", ["tiny", "small", "medium", "large", "xlarge", "huge"])
def test_sizes_are_exact_words(capsys, size):
    assert call(["list", "--size", size, "--json"]) == 0
    models = json.loads(capsys.readouterr().out)
    assert {model["size_category"] for model in models} == {size}
    assert models == sorted(models, key=lambda model: model["model_id"].lower())


def test_all_models_are_listed(capsys):
    assert call(["list"]) == 0
    assert "92 of 92 models" in capsys.readouterr().out
    assert call(["list", "--family", "qwen-coder"]) == 0
    assert "6 of 92 models" in capsys.readouterr().out
    assert call(["list", "--size", "gigantic"]) == 2
