"""`aprqa certify` over a family: what runs is recorded, what cannot run is counted honestly, and the others go on."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from pytest_aprqa.cli.main import call
from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.models.bundled import bundled_folder
from pytest_aprqa.playbooks.facts import read_models
from pytest_aprqa.playbooks.lock import lock_text, locked_entries
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import read_registry, update_registry
from pytest_aprqa.reporting.report_files import write_reports
from tests.reporting.attempt_factory import attempt, scored

TINY = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"
FAMILY = ["demo/Tiny-2M", "demo/Damaged-2M", "demo/Absent-1B", "demo/Drifted-1B", "demo/Broken-1B", "demo/Nothing-1B"]
FAMILY += ["demo/Unlocked-1B"]
REVISION = "0123456789abcdef0123456789abcdef01234567"


def playbook(name, **model):
    return {
        "name": name,
        "version": "1.0.0",
        "model": {"formats": ["safetensors"]} | model,
        "test_matrix": {
            "modalities": ["run"],
            "backends": ["cpu"],
            "scenario_count": 3,
            "prompts": ["What is 2+2?", "What is 15-7?", "What is 3+3?"],
        },
    }


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A registry of eight models, six playbooks, one changed and one added after the lock, and a Hugging Face cache.

    The cache has two models, one of them with broken weights.
    """
    monkeypatch.chdir(tmp_path)
    for name in ("HF_HOME", "HOME", "APRQA_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    apply_defect("weights-truncated", TINY, in_hub(tmp_path, "demo/Damaged-2M"))
    shutil.copytree(TINY, in_hub(tmp_path, "demo/Tiny-2M"))
    folder = tmp_path / "playbooks" / "models"
    folder.mkdir(parents=True)
    for stem, repository in ((f"{name.split('/')[1].split('-')[0].lower()}-smoke", name) for name in FAMILY[:4]):
        (folder / f"{stem}.playbook.yaml").write_text(yaml.safe_dump(playbook(stem, hf_repo=repository)))
    broken = yaml.safe_dump(playbook("broken-smoke", hf_repo="demo/Broken-1B")) + "unknown: 1\n"
    (folder / "broken-smoke.playbook.yaml").write_text(broken)
    (tmp_path / "playbooks" / "playbook.lock.yaml").write_text(lock_text(locked_entries(tmp_path / "playbooks")))
    drifted = folder / "drifted-smoke.playbook.yaml"
    drifted.write_text(drifted.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    unlocked = yaml.safe_dump(playbook("unlocked-smoke", hf_repo="demo/Unlocked-1B"))
    (folder / "unlocked-smoke.playbook.yaml").write_text(unlocked)
    rows = [RegistryRow.new(name, family="demo") for name in FAMILY] + [RegistryRow.new("other/X-1B", family="other")]
    update_registry(tmp_path / "models.csv", lambda table: [table.put(row) for row in rows] and None, create=True)
    return tmp_path


def in_hub(home, repository):
    """The folder of a model's main revision in the Hugging Face cache below HOME, which does not exist yet."""
    root = home / "HF_HOME" / "hub" / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(REVISION)
    (root / "snapshots").mkdir()
    return root / "snapshots" / REVISION


def certify(*arguments):
    return call(["certify", "--registry", "models.csv", "--playbooks", "playbooks", *arguments])


def test_a_family_survives_what_is_missing_and_broken(place, capsys):
    before = (place / "models.csv").read_text().splitlines()
    assert certify("--family", "demo", "--tier", "smoke", "--json", "--auto-ticket", "--oracle-enhance") == 1
    shown = capsys.readouterr()
    results = {result["model_id"]: result for result in json.loads(shown.out)}
    assert list(results) == FAMILY
    statuses = [result["status"] for result in results.values()]
    assert statuses[0] in ("PROVISIONAL", "CERTIFIED"), results[FAMILY[0]]
    summary = shown.err.partition("=== Certification Summary ===")[2]
    assert statuses[1:] == ["BLOCKED", *["NOT RUN"] * 5]
    assert f"{statuses[0].capitalize()}: 1\n" in summary
    assert "Blocked: 1\nNot run: 5\nFailed: 6\nTotal: 7\n" in summary
    damaged = results["demo/Damaged-2M"]
    assert (damaged["score"], damaged["grade"], damaged["tier_met"]) == (0, "F", False)
    assert "G0" in damaged["reason"]
    assert (place / "certifications" / "damaged-2m" / "tickets" / "open.sh").is_file()
    assert not (place / "certifications" / "tiny-2m" / "tickets").exists()
    checklist = (place / "certifications" / "damaged-2m" / "checklist.md").read_text()
    assert checklist.startswith("# Checklist: ")
    assert "Score: 0/1000, F, BLOCKED." in checklist
    assert not (place / "certifications" / "tiny-2m" / "checklist.md").exists()
    assert "changed since it was locked" in results["demo/Drifted-1B"]["reason"]
    tiny = results["demo/Tiny-2M"]
    assert (tiny["status"], tiny["tier_met"], tiny["reason"]) == ("PROVISIONAL", True, None) or tiny["score"] >= 850
    assert results["demo/Absent-1B"]["status"] == "NOT RUN"
    assert "hf download demo/Absent-1B" in results["demo/Absent-1B"]["reason"]
    assert "unknown" in results["demo/Broken-1B"]["reason"]
    assert "no playbook for tier smoke" in results["demo/Nothing-1B"]["reason"]
    assert "unlocked-smoke.playbook.yaml: is not in the lock file" in results["demo/Unlocked-1B"]["reason"]
    blocks = shown.err.partition("=== Certification Summary ===")[0].split("\n--- Certifying: ")
    assert [block.partition(" ---\n")[0] for block in blocks[1:]] == FAMILY
    lines = {name: block.splitlines()[1:] for name, block in zip(FAMILY, blocks[1:], strict=True)}
    for name, integrity in zip(FAMILY, ["PASSED"] * 3 + ["FAILED", "PASSED", None, "FAILED"], strict=True):
        path = f"playbooks/models/{name.split('/')[1].split('-')[0].lower()}-smoke.playbook.yaml"
        head = [f"  Playbook: {path}", f"  Integrity: {integrity}"] if integrity else []
        assert lines[name][: len(head)] == head
        reason = results[name]["reason"]
        if results[name]["status"] == "NOT RUN":
            assert lines[name][len(head)] == f"  {'[INTEGRITY] ' * (integrity == 'FAILED')}Not run: {reason}"
    told = dict(line.strip().partition(": ")[::2] for line in lines["demo/Tiny-2M"])
    assert told["Scenarios"] == "3"
    assert int(told["Passed"]) > 0
    assert (told["Failed"], told["Tier"], told["Grade"]) == ("0", "smoke (met)", results["demo/Tiny-2M"]["grade"])
    assert told["MQS Score"] == f"{results['demo/Tiny-2M']['score']}/1000"
    assert told["Status"] == statuses[0]
    assert re.fullmatch(r"\d+\.\d%", told["Pass rate"])
    assert re.fullmatch(r"st cpu \d+\.\d tok/s", told["Profile"])
    assert told["Evidence"] == "certifications/tiny-2m"
    assert "\nUpdated: models.csv\n" in shown.err
    after = (place / "models.csv").read_text().splitlines()
    assert after[3:] == before[3:], "a model that was not run changed its row"
    rows = read_registry(place / "models.csv").rows
    assert (rows["demo/Damaged-2M"]["status"], rows["demo/Damaged-2M"]["certified_tier"]) == ("BLOCKED", "none")
    row = rows["demo/Tiny-2M"]
    assert row["certified_tier"] == "smoke"
    assert row.problems() == []
    assert float(row["tps_st_cpu"]) > 0
    assert (place / "certifications" / "tiny-2m" / "evidence.json").is_file()


@pytest.mark.parametrize(
    ("reasons", "made"), [(["tensor name missing: a"] * 3, 1), (["segfault", "tensor name missing"], 2)]
)
def test_tickets_of_certify_are_one_for_each_cause(tmp_path, reasons, made):
    from pytest_aprqa.cli.certify import _write_tickets
    from pytest_aprqa.reporting.ticket_causes import cause_of

    entries = [
        attempt("Falsified", reason=reason, gate_id=f"F-QUAL-00{n}", node_id=f"p::{n}")
        for n, reason in enumerate(reasons)
    ]
    assert len({cause_of(entry) for entry in entries}) == made
    write_reports(tmp_path, entries, scored(entries))
    said = []
    _write_tickets(tmp_path, "acme/models", lambda text, **_: said.append(text.strip()))
    assert said == [f"Tickets: {made}, {tmp_path / 'tickets' / 'open.sh'}"]
    bodies = [path.read_text() for path in (tmp_path / "tickets").glob("*.md")]
    assert len(bodies) == made
    assert all("## Root cause" in body for body in bodies)


@pytest.mark.parametrize(
    ("model", "requested", "workers", "said"),
    [
        ({"size_category": "medium"}, 4, 2, "[RESOURCE] Model size Medium caps workers at 2 (requested 4)"),
        ({"size_category": "medium"}, 2, 2, None),
        ({"hf_repo": "demo/X-70B"}, 3, 1, "[RESOURCE] Model size Huge caps workers at 1 (requested 3)"),
        ({}, 2, 1, "[RESOURCE] A model of unknown size (model.size_category) caps workers at 1 (requested 2)"),
        ({"size_category": "tiny"}, 0, 0, None),
    ],
)
def test_a_large_model_gets_no_more_workers_than_fit(tmp_path, model, requested, workers, said):
    from pytest_aprqa.cli.certify import _fitting_workers
    from pytest_aprqa.playbooks.loading import load_playbook

    path = tmp_path / "x-smoke.playbook.yaml"
    path.write_text(yaml.safe_dump(playbook("x-smoke", **{"hf_repo": "demo/X"} | model)))
    lines = []
    assert _fitting_workers(load_playbook(path), requested, lambda text, **_: lines.append(text.strip())) == workers
    assert lines == ([said] if said else [])


def test_dry_run_touches_nothing(place, capsys):
    before = sorted(str(path) for path in place.rglob("*"))
    assert certify("--all", "--tier", "smoke", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "4 would be run, 4 cannot" in out
    assert "Auto-resolving model cache: " in out
    assert "\nDry run: true\nFail-fast: false\nModels to certify: 8\n" in out
    assert "  Would certify: demo/Tiny-2M\n    Playbook: playbooks/models/tiny-smoke.playbook.yaml\n" in out
    assert "  Cannot certify: demo/Nothing-1B\n    Reason: no playbook for tier smoke" in out
    assert sorted(str(path) for path in place.rglob("*")) == before


def test_a_changed_playbook_is_not_run(place, capsys):
    path = place / "playbooks" / "models" / "tiny-smoke.playbook.yaml"
    path.write_text(path.read_text().replace("version: 1.0.0", "version: 1.0.1"))
    assert certify("demo/Tiny-2M", "--tier", "smoke", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert "changed since it was locked" in result["reason"]
    assert certify("demo/Tiny-2M", "--tier", "smoke", "--no-integrity-check", "--dry-run") == 0
    capsys.readouterr()
    assert certify("demo/Drifted-1B", "--tier", "smoke", "--no-integrity-check", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert "hf download demo/Drifted-1B" in result["reason"], "the run itself must not look at the lock either"


def test_where_no_lock_is_there_is_a_warning_and_fail_fast_says_where_it_stopped(place, monkeypatch, capsys):
    from pytest_aprqa.models import bundled

    (place / "playbooks" / "playbook.lock.yaml").unlink()
    monkeypatch.setattr(bundled, "bundled_folder", lambda: place)
    assert certify("--family", "demo", "--tier", "smoke", "--dry-run", "--model-cache", "here") == 0
    out = capsys.readouterr().out
    assert "[WARN] No playbook lock file found at playbooks/playbook.lock.yaml" in out
    assert "\nModel cache: here\n" in out
    assert "Auto-resolving" not in out
    assert certify("demo/Nothing-1B", "demo/Tiny-2M", "--tier", "smoke", "--fail-fast") == 1
    out = capsys.readouterr().out
    assert "[FAIL-FAST] Stopping certification after demo/Nothing-1B (had failures)\n" in out
    assert out.endswith("Certified: 0\nNot run: 1\nFailed: 1\nTotal: 1\n")
    assert "Updated:" not in out


@pytest.mark.parametrize(("modalities", "count", "most"), [(3, 1, 9), (2, 9, 12), (3, 2, None), (3, 9, None)])
def test_a_matrix_that_cannot_prove_the_tier_is_told_before_it_runs(place, capsys, modalities, count, most):
    """The tier mvp asks for 18 scenarios and runs 2 of each cell: 9 cells have as many, 6 do not."""
    data = playbook("tiny-mvp", hf_repo="demo/Tiny-2M", formats=["safetensors", "apr", "gguf"])
    data["test_matrix"] |= {"modalities": ["run", "chat", "serve"][:modalities], "scenario_count": count}
    path = place / "playbooks" / "models" / "tiny-mvp.playbook.yaml"
    path.write_text(yaml.safe_dump(data))
    assert certify("demo/Tiny-2M", "--tier", "mvp", "--no-integrity-check", "--dry-run") == 0
    out = capsys.readouterr().out
    assert ("[WARN] tier mvp cannot be met" in out) is (most is not None)
    assert f"it asks for 18 scenarios, of this matrix {most} run at most\n" in out or most is None


GPU_ASIDE = "it asks for 18 scenarios, of this matrix 9 run at most; 9 on gpu are skipped: "


@pytest.mark.parametrize(
    ("problem", "options", "said"),
    [
        (None, [], None),
        ("no GPU: none here", [], GPU_ASIDE + "no GPU: none here\n"),
        (None, ["--no-gpu"], GPU_ASIDE + "--no-gpu\n"),
    ],
)
def test_gpu_scenarios_prove_nothing_where_they_are_skipped(place, capsys, monkeypatch, problem, options, said):
    """18 scenarios, as mvp asks for, of which 9 need a GPU."""
    asked = []
    monkeypatch.setattr("pytest_aprqa.engines.selection.gpu_problem", lambda: asked.append(1) or problem)
    data = playbook("tiny-mvp", hf_repo="demo/Tiny-2M", formats=["safetensors", "apr", "gguf"])
    data["test_matrix"] |= {"modalities": ["run", "chat", "serve"], "backends": ["cpu", "gpu"], "scenario_count": 1}
    path = place / "playbooks" / "models" / "tiny-mvp.playbook.yaml"
    path.write_text(yaml.safe_dump(data))
    assert certify("demo/Tiny-2M", "--tier", "mvp", "--no-integrity-check", "--dry-run", *options) == 0
    out = capsys.readouterr().out
    assert ("[WARN] tier mvp cannot be met" in out) is (said is not None)
    assert (said or "") in out
    assert len(asked) == (not options), "the driver is asked once, and not at all where nobody wants a GPU"


def test_a_playbook_is_loaded_once(place, monkeypatch, capsys):
    from pytest_aprqa.playbooks import loading

    loaded = []
    load = loading.load_playbook
    monkeypatch.setattr(loading, "load_playbook", lambda path: loaded.append(path.name) or load(path))
    monkeypatch.setattr("pytest_aprqa.cli.run.captured_pytest", lambda arguments: (4, "ERROR: stopped here"))
    assert certify("demo/Tiny-2M", "--tier", "smoke", "--workers", "2", "--json") == 1
    assert json.loads(capsys.readouterr().out)[0]["reason"] == "stopped here"
    assert loaded == ["tiny-smoke.playbook.yaml"]


def test_the_lock_that_bootstrap_tells_to_make_is_the_one_that_is_compared(place, capsys):
    """Beside the playbooks, not above them; it is the nearest, and what it does not list is looked for above."""
    wanted = ["bootstrap", "qwen2", "1b", "--hf-repo", "demo/Nothing-1B", "--tier", "smoke"]
    assert call([*wanted, "--config", str(TINY)]) == 0
    told = capsys.readouterr().out.partition("next: aprqa ")[2].split()
    assert told == ["lock-playbooks", "playbooks/models"]
    assert call(told) == 0
    (place / "playbooks" / "playbook.lock.yaml").unlink()
    assert certify("demo/Nothing-1B", "--tier", "smoke", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "Would certify: demo/Nothing-1B" in out
    assert "No playbook lock file" not in out
    path = place / "playbooks" / "models" / "qwen2-1b-smoke.playbook.yaml"
    path.write_text(path.read_text() + "# changed\n")
    assert certify("demo/Nothing-1B", "--tier", "smoke", "--json") == 1
    (result,) = json.loads(capsys.readouterr().out)
    assert "changed since it was locked" in result["reason"]


def test_a_lock_that_cannot_be_read_refuses_its_playbooks_and_no_other(place, capsys):
    (place / "playbooks" / "models" / "playbook.lock.yaml").write_text("entries: 3")
    assert certify("demo/Tiny-2M", "demo/Nothing-1B", "--tier", "smoke", "--json") == 1
    shown = capsys.readouterr()
    assert ["is no lock file" in result["reason"] for result in json.loads(shown.out)] == [True, False]
    assert "  Integrity: FAILED\n  [INTEGRITY] Not run: " in shown.err


def test_a_beginning_of_families_takes_them(place, capsys):
    assert certify("--family", "de", "--tier", "smoke", "--dry-run") == 0
    captured = capsys.readouterr()
    assert "no family is called de; taken: demo" in captured.err
    assert "Models to certify: 7" in captured.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Specify --all, --family, or model IDs"),
        (["--tier", "huge", "--all"], 2, "Unknown tier: huge"),
        (["a/b", "--all"], 2, "not more than one"),
        (["noslash"], 2, "is not a model id"),
        (["--all", "--model", "."], 2, "--model is the place of one model"),
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


def test_all_published_models_have_a_plan_that_touches_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    facts = read_models(bundled_folder() / "playbooks" / "facts" / "models.csv")
    rows = [RegistryRow.new(name, family=model.family) for name, model in facts.items()]
    update_registry(tmp_path / "models.csv", lambda table: [table.put(row) for row in rows] and None, create=True)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    assert call(["certify", "--all", "--tier", "mvp", "--registry", "models.csv", "--dry-run", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert len(results) == 92
    planned = [result for result in results if result["reason"] is None]
    assert all(result["playbook"].endswith(".playbook.yaml") for result in planned)
    assert all("no playbook for tier mvp" in result["reason"] for result in results if result not in planned)
    assert len(planned) > 70
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def record(registry, name):
    """What certify does at the end of a run, many times: read, change one row, replace the file."""
    for number in range(15):
        update_registry(
            Path(registry),
            lambda table, n=number: table.put(table.rows[name].changed(mqs_score=str(n), status="BLOCKED")),
        )


def test_two_certifications_at_once_lose_no_row_and_no_score(place):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=record, args=(str(place / "models.csv"), name)) for name in FAMILY[:3]]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    rows = read_registry(place / "models.csv").rows
    assert [*rows] == [*FAMILY, "other/X-1B"]
    assert [rows[name]["mqs_score"] for name in FAMILY] == ["14", "14", "14", "0", "0", "0", "0"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_in_progress_too(place, number, code):
    (place / "conftest.py").write_text(
        "import os, pathlib, time\n\ndef pytest_configure():\n"
        "    pathlib.Path('part').write_text(str(os.getpid()))\n    os.rename('part', 'pid')\n    time.sleep(60)\n"
    )
    before = (place / "models.csv").read_bytes()
    arguments = ["certify", "demo/Tiny-2M", "--tier", "smoke", "--registry", "models.csv", "--playbooks", "playbooks"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest_aprqa.cli.main", *arguments], cwd=place, start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(TINY.parents[1])}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (place / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"[JIDOKA] {number.name} received. Reaping 1 child process(es)...\n[JIDOKA] Line stopped" in told
    with pytest.raises(ProcessLookupError):
        os.kill(int((place / "pid").read_text()), 0)
    assert (place / "models.csv").read_bytes() == before
