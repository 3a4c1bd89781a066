"""Bad input of a run: one clear error, nothing reported as passed, nothing recorded is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.plugin.conftest import TINY_MODEL


def assert_one_error(result, *texts, code=4):
    """Exit code, the texts in the error output, no traceback, no test reported as passed."""
    assert result.ret == code, result.stdout.str() + result.stderr.str()
    output = result.stdout.str() + result.stderr.str()
    for text in texts:
        assert text in output
    assert "Traceback" not in output
    assert "INTERNALERROR" not in output
    assert " passed" not in output


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("{name: [", ["bad.playbook.yaml"]),
        ("- one\n- two\n", ["bad.playbook.yaml", "mapping"]),
        ("name: bad\nname: again\n", ["bad.playbook.yaml", "name"]),
        ("a: &a [1]\nb: [*a, *a]\n", ["bad.playbook.yaml"]),
        ("name: !!python/object:os.system {}\n", ["bad.playbook.yaml"]),
        ("name: bad\nversion: 1.0.0\n", ["bad.playbook.yaml", "model"]),
    ],
    ids=["not-yaml", "not-a-mapping", "duplicate-key", "alias", "tag", "missing-section"],
)
def test_bad_playbook_is_a_usage_error(project, text, fragments):
    path = project.path / "bad.playbook.yaml"
    path.write_text(text, encoding="utf-8")
    assert_one_error(project.run(f"--playbook={path}"), *fragments)


def test_bad_playbook_found_by_plain_collection_is_a_collection_error(project):
    (project.path / "bad.playbook.yaml").write_text("- one\n", encoding="utf-8")
    result = project.run(".")
    assert result.ret == 2
    assert "mapping" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_unknown_playbook_names_places_and_near_matches(project):
    assert_one_error(project.run("--playbook", "tiny-qwen2-mpv"), "tiny-qwen2-mpv", "tiny-qwen2-mvp", str(project.path))


@pytest.mark.parametrize(("milliseconds", "accepted"), [(999, False), (1000, True), (600_000, True), (600_001, False)])
def test_scenario_timeout_limits(project, milliseconds, accepted):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "--co", "-q", f"--scenario-timeout={milliseconds}")
    assert (result.ret == 0) is accepted
    if not accepted:
        assert_one_error(result, "--scenario-timeout", str(milliseconds), "1000 to 600000")


@pytest.mark.parametrize("option", ["--failure-policy=stop-at-noon", "--tier=gold"])
def test_unknown_policy_or_tier_is_a_usage_error(project, option):
    path = project.write_playbook()
    assert_one_error(project.run(f"--playbook={path}", option), option.split("=")[1])


def test_unwritable_evidence_folder_is_known_before_the_first_item(project):
    path = project.write_playbook()
    (project.path / "file").write_text("in the way", encoding="utf-8")
    assert_one_error(project.run(f"--playbook={path}", "--evidence-dir", "file/evidence"), "file/evidence")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--against=nowhere", "nowhere: no SafeTensors model there"),
        ("--against=file", "file: no SafeTensors model there"),
        ("--aprqa-checks=some/folder", "found 'some/folder'; give a file that ends in .py"),
        ("--evidence-dir=file", "file: File exists; choose a folder that can be written"),
    ],
)
def test_a_path_that_is_none_is_known_before_the_first_item(project, option, said):
    (project.path / "file").write_text("no model", encoding="utf-8")
    assert_one_error(project.run(f"--playbook={project.write_playbook()}", option), said)


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["--shard=3/2"], None),
        (["--shard=3/2", "-n2"], None),
        (["--depth=deep"], None),
        (["no-such-test.py"], None),
        (["no-such-test.py"], "given"),
    ],
)
def test_wrong_use_seen_late_leaves_no_run_behind(project, arguments, folder):
    evidence = project.path / (folder or "evidence")
    log = evidence / ("evidence.jsonl" if folder else "earlier/evidence.jsonl")
    log.parent.mkdir(parents=True)
    log.write_text("{}\n")
    if folder is None:
        (evidence / "latest").symlink_to("earlier")
    before = sorted(path.relative_to(evidence) for path in evidence.rglob("*"))
    options = [f"--evidence-dir={folder}"] if folder else []
    result = project.run(f"--playbook={project.write_playbook()}", *options, *arguments)
    assert_one_error(result, arguments[0].partition("=")[2])
    assert result.stderr.str().count("ERROR: ") == 1
    assert "evidence: " not in result.stdout.str()
    assert sorted(path.relative_to(evidence) for path in evidence.rglob("*")) == before
    assert folder or (evidence / "latest").resolve() == log.parent.resolve()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full to play a full disk")
def test_full_disk_ends_the_run_with_one_message(project):
    path = project.write_playbook()
    folder = project.path / "full"
    folder.mkdir()
    (folder / "evidence.jsonl").symlink_to("/dev/full")
    result = project.run(f"--playbook={path}", "--evidence-dir", "full", "-k", "file_is_sound or loads")
    assert result.ret not in (0, 5)
    output = result.stdout.str() + result.stderr.str()
    assert "evidence cannot be written" in output
    assert "No space left" in output
    assert "Traceback" not in output


def broken(project, change):
    folder = project.path / "broken"
    shutil.copytree(TINY_MODEL, folder)
    change(folder)
    return folder


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def test_model_folder_without_weights_is_a_usage_error(project):
    folder = broken(project, remove_weights)
    path = project.write_playbook()
    assert_one_error(project.run(f"--playbook={path}", "--model-path", str(folder)), str(folder), "safetensors")


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGINT, 2, 0), (signal.SIGTERM, 143, 0), (signal.SIGTERM, 143, 2)]
)
def test_an_early_end_keeps_the_evidence_so_far(project, number, code, workers):
    if workers:
        pytest.importorskip("xdist")
    path = project.write_playbook()
    project.pytester.makepyfile(
        zz_checks="""
        import os, pathlib, time

        def test_waits(playbook):
            pathlib.Path("part").write_text(str(os.getpid()))
            os.rename("part", "waiting")
            time.sleep(60)
        """
    )
    (project.path / "scratch").mkdir()
    command = [
        sys.executable, "-m", "pytest", f"--playbook={path}", "--aprqa-checks", "zz_checks.py",
        "-k", "file_is_sound or test_waits", "--evidence-dir", "kept", "-p", "no:cacheprovider",
        *([f"-n{workers}"] if workers else []),
    ]  # fmt: skip
    process = subprocess.Popen(
        command,
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(project.path / "scratch")},
        # A shell that starts jobs in the background makes them ignore SIGINT; the child must not inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    log = project.path / "kept" / "evidence.jsonl"
    while not (project.path / "waiting").exists() or not log.is_file() or not log.stat().st_size:
        assert time.monotonic() < deadline, "the slow check never started"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert f"ended early; to go on: --resume={project.path / 'kept'}" in output
    with pytest.raises(ProcessLookupError):
        os.kill(int((project.path / "waiting").read_text()), 0)
    assert not list((project.path / "scratch").iterdir()), "temporary folders are left behind"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [e["check"] for e in entries] == ["test_file_is_sound"]
    assert json.loads((project.path / "kept" / "evidence.json").read_text(encoding="utf-8"))


def test_a_run_that_only_skips_has_no_score_and_fails(project):
    path = project.write_playbook(test_matrix={"backends": ["gpu"]})
    result = project.run(f"--playbook={path}", "--no-gpu", "-k", "test_model_loads")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*no score*"])


def test_empty_selection_has_no_score_and_fails(project):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "-k", "nothing_matches_this")
    assert result.ret == 5
    result.stdout.fnmatch_lines(["*no score*"])
