"""`aprqa certify` over a family: what runs is recorded, what cannot run is counted honestly, and the others go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pytest_aprqa.cli.main import call
from pytest_aprqa.playbooks.lock import lock_text, locked_entries
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import read_registry, update_registry

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
FAMILY = ["demo/Tiny-2M", "demo/Absent-1B", "demo/Broken-1B", "demo/Nothing-1B"]


def playbook(name, **model):
    return {
        "name": name,
        "version": "1.0.0",
        "model": {"formats": ["safetensors"], "size_category": "tiny"} | model,
        "test_matrix": {
            "modalities": ["run"],
            "backends": ["cpu"],
            "scenario_count": 3,
            "prompts": ["What is 2+2?", "What is 15-7?", "What is 3+3?"],
        },
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A registry of four models, three playbooks, and a cache in which one model stands."""
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HOME", "APRQA_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    shutil.copytree(TINY, tmp_path / "cache" / "demo" / "Tiny-2M")
    folder = tmp_path / "playbooks" / "models"
    folder.mkdir(parents=True)
    for stem, repository in (("tiny-smoke", "demo/Tiny-2M"), ("absent-smoke", "demo/Absent-1B")):
        (folder / f"{stem}.playbook.yaml").write_text(yaml.safe_dump(playbook(stem, hf_repo=repository)))
    broken = yaml.safe_dump(playbook("broken-smoke", hf_repo="demo/Broken-1B")) + "unknown: 1\n"
    (folder / "broken-smoke.playbook.yaml").write_text(broken)
    (tmp_path / "playbooks" / "playbook.lock.yaml").write_text(lock_text(locked_entries(tmp_path / "playbooks")))
    rows = [RegistryRow.new(name, family="demo") for name in FAMILY] + [RegistryRow.new("other/X-1B", family="other")]
    update_registry(tmp_path / "models.csv", lambda table: [table.put(row) for row in rows] and None, create=True)
    return tmp_path


def certify(*arguments):
    return call(
        ["certify", "--registry", "models.csv", "--playbooks", "playbooks", "--model-cache", "cache", *arguments]
    )


def test_a_family_survives_what_is_missing_and_broken(place, capsys):
    before = (place / "models.csv").read_text().splitlines()
    assert certify("--family", "demo", "--tier", "smoke", "--json") == 1
    results = {result["model_id"]: result for result in json.loads(capsys.readouterr().out)}
    assert list(results) == FAMILY
    tiny = results["demo/Tiny-2M"]
    assert (tiny["status"], tiny["tier_met"], tiny["reason"]) == ("PROVISIONAL", True, None) or tiny["score"] >= 850
    assert results["demo/Absent-1B"]["status"] == "NOT RUN"
    assert "hf download demo/Absent-1B" in results["demo/Absent-1B"]["reason"]
    assert "unknown" in results["demo/Broken-1B"]["reason"]
    assert "no playbook for tier smoke" in results["demo/Nothing-1B"]["reason"]
    after = (place / "models.csv").read_text().splitlines()
    assert after[2:] == before[2:], "a model that was not run changed its row"
    row = read_registry(place / "models.csv").rows["demo/Tiny-2M"]
    assert row["certified_tier"] == "smoke"
    assert row.problems() == []
    assert float(row["tps_st_cpu"]) > 0
    assert (place / "certifications" / "tiny-2m" / "evidence.json").is_file()


def test_dry_run_touches_nothing(place, capsys):
    before = sorted(str(path) for path in place.rglob("*"))
    assert certify("--all", "--tier", "smoke", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "3 would be run, 2 cannot" in out
    assert sorted(str(path) for path in place.rglob("*")) == before


def test_a_changed_playbook_is_not_run(place, capsys):
    path = place / "playbooks" / "models" / "tiny-smoke.playbook.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    assert certify("demo/Tiny-2M", "--tier", "smoke", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert "changed since it was locked" in result["reason"]
    assert certify("demo/Tiny-2M", "--tier", "smoke", "--no-integrity-check", "--dry-run") == 0


def test_a_beginning_of_families_takes_them(place, capsys):
    assert certify("--family", "de", "--tier", "smoke", "--dry-run") == 0
    captured = capsys.readouterr()
    assert "no family is called de; taken: demo" in captured.err
    assert "Models: 4" in captured.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Specify --all, --family, or model IDs"),
        (["--tier", "huge", "--all"], 2, "Unknown tier: huge"),
        (["a/b", "--all"], 2, "not more than one"),
        (["noslash"], 2, "is not a model id"),
        (["--family", "zzz"], 1, "no family 'zzz'; there are demo, other"),
    ],
)
def test_wrong_use_is_one_line(place, capsys, arguments, code, words):
    assert certify(*arguments) == code
    assert words in capsys.readouterr().err


def test_registry_must_be_there_for_a_family(place, capsys):
    (place / "models.csv").unlink()
    assert certify("--all") == 1
    assert "models.csv: cannot be read" in capsys.readouterr().err
