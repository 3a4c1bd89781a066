"""aprqa verify: a true certificate passes; each kind of lie fails with a finding that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.declared_files import declarations_digest
from pytest_aprqa.evidence.log import EvidenceLog, read_log
from pytest_aprqa.reporting.certificate_comparison import check_expiry
from pytest_aprqa.reporting.report_files import write_reports
from tests.reporting.attempt_factory import attempt, scored

WEIGHTS = b"weights of the model"


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    return folder


def entries_of(model, **changes):
    now = datetime.now(UTC).isoformat()
    artifact = {
        "format": "safetensors",
        "path": str(model / "model.safetensors"),
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "origin": "published",
    }
    derived = {"format": "gguf", "path": "/gone/model.gguf", "sha256": "d" * 64, "origin": "derived"}
    cell = ("safetensors", "cpu", "chat")
    first = {"outcome": "Falsified", "reason": "it says 5"} | changes
    return [
        attempt(check="test_a", cell=cell, artifact=artifact, timestamp=now, metadata={"order": "0"}, **first),
        attempt(check="test_b", artifact=derived, timestamp=now, metadata={"order": "1"}),
    ]


def write_run(folder, entries):
    folder.mkdir(exist_ok=True)
    (folder / "evidence.jsonl").unlink(missing_ok=True)
    with EvidenceLog(folder / "evidence.jsonl") as log:
        for entry in entries:
            log.append(entry)
    write_reports(folder, entries, scored(entries))
    return folder


@pytest.fixture
def run(tmp_path, model):
    return write_run(tmp_path / "run", entries_of(model))


def verify(capsys, folder, *arguments):
    """(exit code, name -> (state, detail)) of `aprqa verify --json`."""
    code = call(["verify", str(folder / "certificate.json"), "--json", *map(str, arguments)])
    told = json.loads(capsys.readouterr().out)
    assert told["verified"] is (code == 0)
    return code, {check["name"]: (check["state"], check["detail"]) for check in told["checks"]}


def failures(capsys, folder, *arguments):
    code, checks = verify(capsys, folder, *arguments)
    failed = {name: detail for name, (state, detail) in checks.items() if state == "failed"}
    assert code == int(bool(failed))
    return failed


def change_certificate(folder, **changes):
    path = folder / "certificate.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_true_certificate_is_verified_whatever_its_verdict(run, capsys):
    code, checks = verify(capsys, run)
    assert code == 0
    assert (
        checks["evidence"][0]
        == checks["log"][0]
        == checks["score"][0]
        == checks["artifact: safetensors"][0]
        == "passed"
    )
    assert checks["artifact: gguf"] == ("not checked", "model.gguf was derived, and is not here")
    assert checks["playbook: tiny-mvp"][0] == "not checked"


def test_the_folder_of_a_run_may_be_named_and_the_text_ends_with_the_verdict(run, capsys):
    assert call(["verify", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("VERIFIED: BLOCKED, ")


def test_what_was_not_checked_is_named_before_the_verdict(run, capsys):
    code, checks = verify(capsys, run)
    assert (code, checks["replay"][0]) == (0, "not checked")
    assert call(["verify", str(run)]) == 0
    named, verdict = capsys.readouterr().out.splitlines()[-2:]
    assert named.startswith("not checked: artifact: gguf, ")
    assert named.endswith("replay (ask with --replay N)")
    assert verdict.startswith("VERIFIED")
    assert call(["verify", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["not_checked"] == [one["name"] for one in told["checks"] if one["state"] == "not checked"]
    assert "replay" in told["not_checked"]


@pytest.mark.parametrize(
    ("field", "lie"),
    [
        ("mqs_score", 999),
        ("status", "CERTIFIED"),
        ("grade", "A+"),
        ("model_id", "example/Other-1B"),
        ("qualifies", True),
        ("status_reasons", []),
        ("expires_at", "2099-01-01T00:00:00+00:00"),
        ("auditor", "somebody else"),
        ("collection", {"found": 2, "expected": 2, "complete": True}),
        ("engines", [{"name": "apr", "version": "1", "backend": "gpu", "dtype": "q4", "formats": ["apr"]}]),
    ],
)
def test_a_changed_claim_is_found_by_scoring_again(run, capsys, field, lie):
    change_certificate(run, **{field: lie})
    failed = failures(capsys, run)
    assert list(failed) == [f"score: {field}"]
    assert "the certificate says" in failed[f"score: {field}"]


def test_a_changed_gateway_is_found(run, capsys):
    gateways = json.loads((run / "certificate.json").read_text())["gateways"]
    change_certificate(run, gateways=[g | {"passed": True, "state": "passed"} for g in gateways])
    assert "score: gateways" in failures(capsys, run)


def test_edited_evidence_is_found_by_its_digest_and_by_the_log(run, capsys):
    path = run / "evidence.json"
    path.write_text(path.read_text().replace('"Falsified"', '"Corroborated"'))
    failed = failures(capsys, run)
    assert "evidence.json was changed: SHA-256" in failed["evidence"]
    assert "differ in 1 items: tiny-mvp.playbook.yaml::test_a" in failed["log"]
    assert "score: mqs_score" in failed or "score: outcomes" in failed


def test_evidence_and_certificate_that_were_both_made_anew_disagree_with_the_log(run, model, capsys):
    better = entries_of(model, outcome="Corroborated")
    write_reports(run, better, scored(better))
    assert list(failures(capsys, run)) == ["log"]


def test_an_entry_that_was_left_out_is_found(run, capsys):
    kept = read_log(run / "evidence.jsonl").entries[1:]
    write_reports(run, kept, scored(list(kept)))
    assert "log" in failures(capsys, run)


def test_a_changed_digest_in_the_certificate_is_found(run, capsys):
    artifacts = json.loads((run / "certificate.json").read_text())["artifacts"]
    change_certificate(run, artifacts=[a | {"sha256": "e" * 64} for a in artifacts])
    assert "score: artifacts" in failures(capsys, run)
    change_certificate(run, artifacts=artifacts, evidence_hash="e" * 64)
    assert "the certificate says " + "e" * 64 in failures(capsys, run)["evidence"]


def test_another_artifact_is_found_where_it_lay_and_where_it_is_named(run, model, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(WEIGHTS + b"!")
    failed = failures(capsys, run, "--model-path", other)
    assert list(failed) == ["artifact: safetensors"]
    assert hashlib.sha256(WEIGHTS + b"!").hexdigest() in failed["artifact: safetensors"]
    assert not failures(capsys, run, "--model-path", model)
    (model / "model.safetensors").write_bytes(b"changed after the run")
    assert list(failures(capsys, run)) == ["artifact: safetensors"]


def test_a_model_that_is_not_here_is_not_verified(run, model, tmp_path, capsys):
    (model / "model.safetensors").rename(tmp_path / "moved")
    assert "no such file" in failures(capsys, run)["artifact: safetensors"]
    assert "--model-path" in failures(capsys, run, "--model-path", model)["artifact: safetensors"]


def test_nothing_digested_is_nothing_verified(tmp_path, model, capsys):
    run = write_run(tmp_path / "derived", entries_of(model)[1:])
    assert "no file of the model was found" in failures(capsys, run)["artifacts"]


def test_evidence_that_is_missing_is_a_finding(run, capsys):
    (run / "evidence.json").unlink()
    assert "cannot be read" in failures(capsys, run)["evidence"]


def test_another_playbook_is_found(run, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-mvp.playbook.yaml").write_text("name: tiny-mvp\n")
    digest = hashlib.sha256(b"name: tiny-mvp\n").hexdigest()
    marked = entries_of(model)
    for entry in marked:
        entry.metadata["playbook_sha256"] = digest
    write_run(run, marked)
    assert verify(capsys, run)[1]["playbook: tiny-mvp"][0] == "passed"
    (tmp_path / "tiny-mvp.playbook.yaml").write_text("name: easier\n")
    assert digest in failures(capsys, run)["playbook: tiny-mvp"]


@pytest.fixture
def declared(tmp_path, model):
    """The run of a model with a configuration, a tokenizer and a page about it; every entry says their digest."""
    for name in ("config.json", "tokenizer.json", "README.md"):
        (model / name).write_text("{}")
    entries = entries_of(model)
    for entry in entries:
        entry.metadata["declarations_sha256"] = declarations_digest(model / "model.safetensors")
    return write_run(tmp_path / "declared", entries)


@pytest.mark.parametrize(
    ("name", "text", "state"),
    [
        ("README.md", "another page", "passed"),
        ("config.json", '{"rope_theta": 1}', "failed"),
        ("tokenizer.json", "{} ", "failed"),
        ("chat_template.jinja", "", "failed"),
        ("merges.txt", "", "failed"),
        ("config.json", None, "failed"),
    ],
)
def test_a_changed_configuration_beside_the_same_weights_is_found(declared, model, tmp_path, capsys, name, text, state):
    assert verify(capsys, declared)[1]["declarations"][0] == "passed"
    shutil.copytree(model, tmp_path / "copy")
    if text is None:
        (model / name).unlink()
    else:
        (model / name).write_text(text)
    for arguments in ([], ["--model-path", model]):
        assert verify(capsys, declared, *arguments)[1]["declarations"][0] == state
    assert not failures(capsys, declared, "--model-path", tmp_path / "copy")


def test_a_certificate_cannot_leave_the_configuration_out_or_name_another(declared, run, model, capsys):
    assert "declarations" not in json.loads((run / "certificate.json").read_text())
    assert "declarations" not in verify(capsys, run)[1], "older evidence says nothing of it"
    change_certificate(run, declarations=["e" * 64])
    assert set(failures(capsys, run)) == {"score: declarations", "declarations"}
    content = json.loads((declared / "certificate.json").read_text())
    assert content.pop("declarations") == [declarations_digest(model)]
    (declared / "certificate.json").write_text(json.dumps(content))
    assert list(failures(capsys, declared)) == ["score: declarations"]


@pytest.mark.parametrize(("seconds", "state"), [(-1, "passed"), (1, "failed")])
def test_a_certificate_expires(seconds, state):
    expires = datetime(2026, 5, 30, 10, tzinfo=UTC)
    content = {"expires_at": expires.isoformat()}
    assert check_expiry(content, expires + timedelta(seconds=seconds)).state == state


def test_an_expired_certificate_is_not_verified(tmp_path, model, capsys):
    old = entries_of(model)
    old = [dataclasses.replace(entry, timestamp="2020-01-01T00:00:00+00:00") for entry in old]
    failed = failures(capsys, write_run(tmp_path / "old", old))
    assert failed == {"expiry": "expired at 2020-03-31T00:00:00+00:00"}


@pytest.mark.parametrize("text", ["{", "{}", "[]"])
def test_what_is_no_certificate_is_one_line_and_code_1(tmp_path, text, capsys):
    path = tmp_path / "certificate.json"
    path.write_text(text)
    assert call(["verify", str(path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: ")
    assert told.count("\n") == 1


def test_a_replay_without_scenarios_says_so(run, capsys):
    assert verify(capsys, run, "--replay", 1)[1]["replay"][0] == "not checked"


@pytest.mark.parametrize("arguments", [["nowhere.json"], ["--replay", "-1", "x"], []])
def test_wrong_use_is_code_2(arguments):
    assert call(["verify", *arguments]) == 2
