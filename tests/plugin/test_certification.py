"""The main job: the bundled playbook certifies the bundled model in three formats, alike for any number of workers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.plugin.conftest import REPOSITORY

VOLATILE = {"id", "timestamp", "duration_ms", "host", "metrics", "observed"}
REPORTS = ("evidence.jsonl", "evidence.json", "mqs.json", "junit.xml", "report.md")


@pytest.fixture(scope="module")
def certified(tmp_path_factory, work_cache):
    """Run the demo playbook once for each number of workers; give folder and output by number."""
    runs = {}

    def run(workers):
        if workers not in runs:
            folder = tmp_path_factory.mktemp(f"demo-{workers}")
            command = [
                sys.executable, "-m", "pytest", "--playbook", "tiny-qwen2-mvp", f"-n{workers}",
                "--evidence-dir", str(folder), "-p", "no:cacheprovider", "-v",
            ]  # fmt: skip
            environment = {"APRQA_CACHE": str(work_cache), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
            done = subprocess.run(
                command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900, check=False
            )
            runs[workers] = (folder, done)
        return runs[workers]

    return run


def stable_evidence(folder):
    entries = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    return [{k: v for k, v in entry.items() if k not in VOLATILE} for entry in entries]


def speed_decides(entry):
    """Skipped where a long generation takes less than 2 s, or 300 draws too long: a busy machine is on either side."""
    return entry["gate_id"] in {"F-SERVE-007", "F-SAMPLE-001"}


def test_the_demo_certifies_three_formats(certified):
    folder, done = certified(2)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert [name for name in REPORTS if not (folder / name).is_file()] == []
    score = json.loads((folder / "mqs.json").read_text(encoding="utf-8"))
    assert score["gateways_passed"] is True
    assert score["raw_score"] >= 850
    assert score["status"] == "CERTIFIED"
    entries = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    outcomes = {entry["outcome"] for entry in entries}
    assert outcomes == {"Corroborated", "Skipped"}
    corroborated = {
        (e["scenario"]["format"], e["scenario"]["modality"]) for e in entries if e["outcome"] == "Corroborated"
    }
    expected = {(f, m) for f in ("safetensors", "apr", "gguf") for m in ("run", "chat", "serve")}
    assert expected <= corroborated
    origins = {e["artifact"]["format"]: e["artifact"]["origin"] for e in entries if e.get("artifact")}
    assert origins == {"safetensors": "published", "apr": "derived", "gguf": "derived"}


def test_gpu_cells_are_skipped_with_the_reason(certified):
    folder, _ = certified(2)
    entries = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    gpu = [e for e in entries if e["scenario"]["backend"] == "gpu"]
    assert gpu
    assert {e["outcome"] for e in gpu} == {"Skipped"}
    assert all("gpu" in e["reason"].lower() or "cuda" in e["reason"].lower() for e in gpu)


def test_progress_of_workers_is_not_written_to_a_log(certified):
    _, done = certified(2)
    assert "[aprqa gw" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 4])
def test_number_of_workers_changes_nothing_but_times(certified, workers):
    expected, _ = certified(2)
    folder, done = certified(workers)
    assert done.returncode == 0, done.stdout[-3000:]
    found, wanted = stable_evidence(folder), stable_evidence(expected)
    assert [e for e in found if not speed_decides(e)] == [e for e in wanted if not speed_decides(e)]
    assert len(found) == len(wanted)
    if found == wanted:
        scores = [json.loads((f / "mqs.json").read_text(encoding="utf-8")) for f in (folder, expected)]
        assert scores[0] == scores[1]


def test_rescoring_the_log_gives_the_same_numbers(certified):
    from pytest_aprqa.evidence.log import read_log
    from pytest_aprqa.scoring.score import score

    folder, _ = certified(2)
    recorded = json.loads((folder / "mqs.json").read_text(encoding="utf-8"))
    entries = read_log(folder / "evidence.jsonl")
    evidence = list(getattr(entries, "evidence", entries))
    again = score(evidence, model_id=recorded["model_id"]).to_dict()
    assert again["raw_score"] == recorded["raw_score"]
    assert again["categories"] == recorded["categories"]
    assert again["gateways"] == recorded["gateways"]
