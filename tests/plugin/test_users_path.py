"""The real user's path: a model in a Hugging Face cache, one that is absent, and one given by path."""

from __future__ import annotations

import shutil

from tests.plugin.conftest import TINY_MODEL

REPOSITORY_FOLDER = "models--Qwen--Qwen2.5-Coder-1.5B-Instruct"


def put_into_hub_cache(hub, model=TINY_MODEL):
    """The layout of huggingface_hub: blobs, snapshots with links, refs/main."""
    root = hub / REPOSITORY_FOLDER
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot, blobs = root / "snapshots" / revision, root / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        blob = blobs / f"{number:064x}"
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(blob)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(revision, encoding="utf-8")
    return snapshot


def test_absent_model_is_one_message_with_every_place_and_the_command(project):
    result = project.run("--playbook", "qwen-coder-mvp.yaml")
    assert result.ret == 4
    text = result.stderr.str()
    assert "Qwen/Qwen2.5-Coder-1.5B-Instruct" in text
    assert "no-hub-cache" in text
    assert ".cache/apr-models" in text
    assert "hf download Qwen/Qwen2.5-Coder-1.5B-Instruct" in text
    assert "Traceback" not in text + result.stdout.str()
    assert "passed" not in result.stdout.str()
    assert not (project.path / "evidence").exists()


def test_whole_coder_playbook_runs_on_a_model_in_the_hub_cache(project, monkeypatch):
    hub = project.path / "hub"
    put_into_hub_cache(hub)
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(hub))
    result = project.run("--playbook", "qwen-coder-mvp.yaml", "--no-gpu", "-n2", timeout=600)
    assert result.ret == 1
    outcomes = project.outcomes()
    wrong = sorted(name for name, outcome in outcomes.items() if outcome not in ("Corroborated", "Skipped"))
    # The tiny model answers every prompt of the playbook, but it is not the 1.5B model, and the tool says so.
    assert wrong == [f"test_configuration_is_the_expected_one[{f}]" for f in ("apr", "gguf", "safetensors")]
    entry = next(e for e in project.evidence() if e["outcome"] == "Falsified")
    assert "hidden_dim mismatch: expected 1536, got 256" in entry["reason"]
    assert project.score()["raw_score"] == 0
    assert project.score()["status"] == "BLOCKED"


def test_model_path_wins_over_the_playbooks_local_path(project):
    path = project.write_playbook(local_path=project.path / "nowhere")
    result = project.run(f"--playbook={path}", "--model-path", str(TINY_MODEL), "-k", "file_is_sound")
    result.assert_outcomes(passed=1)


def test_model_cache_holds_org_and_name(project):
    shutil.copytree(TINY_MODEL, project.path / "cache" / "aprqa" / "tiny-qwen2")
    path = project.write_playbook(local_path=None)
    result = project.run(f"--playbook={path}", "--model-cache", "cache", "-k", "file_is_sound")
    result.assert_outcomes(passed=1)
    (entry,) = project.evidence()
    assert "cache/aprqa/tiny-qwen2" in entry["artifact"]["path"]
