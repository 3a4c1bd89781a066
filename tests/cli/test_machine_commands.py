"""`aprqa doctor` and `aprqa list`."""

from __future__ import annotations

import json
import sys
import types

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


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"HUGGINGFACE_HUB_CACHE": "a", "HF_HOME": "b"}, "a"),
        ({"HF_HUB_CACHE": "a", "HF_HOME": "b"}, "a"),
        ({"HF_HOME": "b"}, "b/hub"),
    ],
)
@pytest.mark.parametrize(("there", "level"), [(True, "ok"), (False, "note")])
def test_the_hub_cache_is_where_models_are_looked_for(monkeypatch, tmp_path, variables, place, there, level):
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.setenv(name, str(tmp_path / variables[name]) if name in variables else "")
    if there:
        (tmp_path / place).mkdir(parents=True)
    found = list(doctor._cache())[-1]
    assert (found.subject, found.level) == ("hub cache", level)
    assert found.found == ("" if there else "not found: ") + str(tmp_path / place)


@pytest.mark.parametrize(
    ("script", "level", "words"),
    [
        (None, "note", "not found on PATH"),
        ("echo 'apr 0.2.3 (abc1234)'", "ok", "0.2.3, "),
        ("echo something", "note", "version not found"),
    ],
)
def test_the_apr_program_is_named_with_its_version(monkeypatch, tmp_path, script, level, words):
    if script is not None:
        program = tmp_path / "apr"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = doctor._apr()
    assert (found.level, words in found.found) == (level, True)


def test_gpus_are_counted_by_name_and_a_missing_one_is_not_found(monkeypatch):
    driver = types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda device: ("H200", "L4", "H200")[device],
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    assert [(one.level, one.found) for one in doctor._gpu()] == [("ok", "2 x H200, 1 x L4")]
    driver.nvmlDeviceGetCount = lambda: 0
    assert [(one.level, one.found[:9]) for one in doctor._gpu()] == [("note", "not found")]


def test_the_extras_for_drawing_and_signing_are_among_the_findings():
    assert {"hypothesis", "model-signing"} <= {one.subject for one in doctor._extras()}


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
