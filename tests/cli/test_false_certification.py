"""What `aprqa certify` must not take for a certification: evidence of an earlier run, a playbook of another model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from pytest_aprqa.cli.main import call
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import read_registry, update_registry
from tests.reporting.attempt_factory import attempt

NAME = "acme/Tiny-2M"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A registry of one model, a playbook of it, and the evidence of an earlier certification with its certificate."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "playbooks"
    folder.mkdir()
    write_playbook(folder, "tiny-2m-smoke", NAME)
    update_registry(tmp_path / "models.csv", lambda table: table.put(RegistryRow.new(NAME, family="acme")), create=True)
    run = tmp_path / "certifications" / "tiny-2m"
    run.mkdir(parents=True)
    write_log(run, NAME)
    (run / "certificate.json").write_text('{"status": "CERTIFIED"}')
    return tmp_path


def write_playbook(folder, stem, repository):
    document = {
        "name": stem,
        "version": "1.0.0",
        "model": {"hf_repo": repository, "formats": ["safetensors"]},
        "test_matrix": {"modalities": ["run"], "backends": ["cpu"], "scenario_count": 1, "prompts": ["What is 2+2?"]},
    }
    (folder / f"{stem}.playbook.yaml").write_text(yaml.safe_dump(document))


def write_log(folder, model_id, timestamp="2026-03-01T10:00:00+00:00", **metadata):
    org, name = model_id.split("/")
    entry = attempt(
        "Corroborated", gate_id="G1-LOAD-001", node_id="p::test_model_loads", timestamp=timestamp, metadata=metadata
    ).to_dict()
    entry["scenario"]["model"] = {"org": org, "name": name, "variant": None}
    (folder / "evidence.jsonl").write_text(json.dumps(entry) + "\n")


def certify(*arguments):
    places = ["--registry", "models.csv", "--playbooks", "playbooks", "--tier", "smoke", "--no-integrity-check"]
    return call(["certify", *places, *arguments, "--json"])


def pretend(monkeypatch, code, act=lambda folder: None):
    """Instead of pytest: ACT on the folder of the evidence, exit code CODE."""

    def run(arguments):
        act(Path(arguments[arguments.index("--evidence-dir") + 1]))
        return code, "ImportError: no plugin of that name"

    monkeypatch.setattr("pytest_aprqa.cli.run.captured_pytest", run)


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_evidence_that_this_run_did_not_write_is_not_recorded(place, monkeypatch, capsys, code):
    pretend(monkeypatch, code)
    before = (place / "models.csv").read_bytes()
    assert certify(NAME) == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert (result["status"], result["reason"]) == ("NOT RUN", "ImportError: no plugin of that name")
    assert (place / "models.csv").read_bytes() == before


def test_a_plugin_that_breaks_pytest_is_no_certification(place, monkeypatch, capsys):
    """As it is: pytest ends with 1, as after failures, before it has looked at anything."""
    (place / "plugin_that_is_broken.py").write_text("raise RuntimeError('built for another library')\n")
    monkeypatch.setenv("PYTEST_PLUGINS", "plugin_that_is_broken")
    monkeypatch.setenv("PYTHONPATH", f"{place}{os.pathsep}{Path(__file__).parents[2]}")
    before = (place / "models.csv").read_bytes()
    assert certify(NAME) == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert result["status"] == "NOT RUN"
    assert "built for another library" in result["reason"]
    assert (place / "models.csv").read_bytes() == before


@pytest.mark.parametrize("made", [False, True])
def test_a_certificate_of_an_earlier_run_is_not_signed(place, monkeypatch, capsys, made):
    """The run wrote evidence, and its reports or not: no room on the disk, an end by force."""

    def act(folder):
        write_log(folder, NAME)
        if made:
            (folder / "certificate.json").unlink()
            (folder / "certificate.json").write_text("{}")

    signed = []
    pretend(monkeypatch, 1, act)
    monkeypatch.setattr("pytest_aprqa.signing.check_key", lambda key: None)
    monkeypatch.setattr("pytest_aprqa.signing.sign_file", lambda path, key: signed.append(path.name) or path)
    (place / "key.pem").write_text("")
    certify(NAME, "--sign", "key.pem")
    assert signed == ["certificate.json"] * made


def test_a_playbook_of_another_model_with_the_same_short_name_is_not_run(place, monkeypatch, capsys):
    def act(folder):
        pytest.fail(f"run in {folder}")

    pretend(monkeypatch, 0, act)
    for options in ([], ["--dry-run"]):
        assert certify("other/Tiny-2M", *options) == int(not options)
        (result,) = json.loads(capsys.readouterr().out)
        assert result["reason"].startswith("tiny-2m-smoke.playbook.yaml is a playbook of acme/Tiny-2M")
    assert "other/Tiny-2M" not in read_registry(place / "models.csv").rows


@pytest.mark.parametrize(("weights", "tier"), [("a" * 64, "mvp"), ("b" * 64, "none")])
def test_a_tier_that_other_weights_have_proven_is_not_theirs(place, monkeypatch, capsys, weights, tier):
    """The evidence of the recorded run is set aside by the next one, as pytest does."""
    folder = place / "certifications" / "tiny-2m"
    rows = read_registry(place / "models.csv").rows
    row = rows[NAME].changed(certified_tier="mvp", status="CERTIFIED", last_certified="2026-03-01T10:00:05+00:00")
    update_registry(place / "models.csv", lambda table: table.put(row))
    write_log(folder, NAME, source_sha256="a" * 64)

    def act(folder):
        (folder / "evidence.jsonl").rename(folder / "evidence.1.jsonl")
        write_log(folder, NAME, "2026-03-05T10:00:00+00:00", source_sha256=weights)

    monkeypatch.setattr("pytest_aprqa.scoring.score.QualificationScore.status", "PROVISIONAL")
    pretend(monkeypatch, 0, act)
    certify(NAME)
    assert read_registry(place / "models.csv").rows[NAME]["certified_tier"] == tier


def test_models_of_one_short_name_keep_folders_of_their_own(place, monkeypatch, capsys):
    write_playbook(place / "playbooks", "other-tiny-smoke", "other/Tiny-2M")
    pretend(monkeypatch, 0, lambda folder: (folder.mkdir(exist_ok=True), write_log(folder, "other/Tiny-2M")))
    for _ in range(2):
        certify("other/Tiny-2M")
        (result,) = json.loads(capsys.readouterr().out)
        assert result["evidence"] == "certifications/other--tiny-2m"
    assert (place / "certifications" / "tiny-2m" / "certificate.json").read_text() == '{"status": "CERTIFIED"}'
    pretend(monkeypatch, 0, lambda folder: write_log(folder, NAME))
    certify(NAME)
    assert json.loads(capsys.readouterr().out)[0]["evidence"] == "certifications/tiny-2m"
