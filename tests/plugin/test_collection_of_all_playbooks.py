"""All committed playbooks through one collection, and what collection remembers between them."""

from __future__ import annotations

import collections
import os
import subprocess
import sys
from pathlib import Path

from pytest_aprqa.playbooks.facts import read_playbook_facts
from pytest_aprqa.playbooks.loading import load_playbook

REPOSITORY = Path(__file__).resolve().parents[2]
SUFFIX = ".playbook.yaml"
PLAYBOOKS = [
    REPOSITORY / "playbooks" / "models" / row.file
    for row in read_playbook_facts(REPOSITORY / "playbooks" / "facts" / "playbooks.csv")
]


def collect(folder: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and the lines of `pytest --co`, in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *arguments]
    with (folder / "collected.txt").open("w+", encoding="utf-8") as output:
        code = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=environment, timeout=600
        ).returncode
        output.seek(0)
        return code, output.read().splitlines()


def test_all_117_playbooks_are_collected_in_one_process(tmp_path):
    named = [option for path in PLAYBOOKS for option in ("--playbook", path.name.removesuffix(SUFFIX))]
    (tmp_path / "playbooks").symlink_to(REPOSITORY / "playbooks")
    code, lines = collect(tmp_path, "--rootdir", str(tmp_path), *named)
    ids = [line for line in lines if "::" in line]
    assert code == 0, "\n".join(line for line in lines if "::" not in line)[:2000]
    assert len(ids) == len(set(ids)), "two items have one node id"
    asked = collections.Counter(
        node_id.split("::")[0].rpartition("/")[2] for node_id in ids if "::test_answer_is_accepted[" in node_id
    )
    assert asked == {path.name: load_playbook(path).matrix.size for path in PLAYBOOKS}
    assert len(PLAYBOOKS) == 117
    assert sum(asked.values()) == 26_873  # the total of the survey


def test_a_folder_gives_the_items_that_its_files_give(tmp_path):
    for name in ("a", "b"):
        text = PLAYBOOKS[0].read_text(encoding="utf-8")
        (tmp_path / f"{name}{SUFFIX}").write_text(text, encoding="utf-8")
    code, by_folder = collect(tmp_path, "--rootdir", str(tmp_path), str(tmp_path))
    assert code == 0
    by_file = collect(tmp_path, "--rootdir", str(tmp_path), f"a{SUFFIX}", f"b{SUFFIX}")[1]
    assert sorted(line for line in by_folder if "::" in line) == sorted(line for line in by_file if "::" in line)
    twice = collect(tmp_path, "--rootdir", str(tmp_path), f"a{SUFFIX}", f"a{SUFFIX}::test_model_loads")[1]
    assert {line.split("::")[0] for line in twice if "::" in line} == {f"a{SUFFIX}"}


def test_a_playbook_of_every_declared_tier_is_collected(project):
    words = ("smoke", "mvp", "quick", "standard", "deep", "ci", "full", "nightly", "release")
    files = [project.write_playbook(f"{word}-model", metadata={"tier": word}).name for word in words]
    result = project.run(*files, "--co", "-q")
    assert result.ret == 0
    assert sorted({line.split("::")[0] for line in result.outlines if "::" in line}) == sorted(files)


def test_the_search_for_garbage_goes_on_after_collection(project):
    good, bad = project.write_playbook("good"), project.write_playbook("bad", gates={"g1_model_load": True})
    project.pytester.makeconftest(
        """
        import gc

        def pytest_sessionfinish(session):
            print("\\nsearching:", gc.isenabled(), "left out:", gc.get_freeze_count() > 0)

        def pytest_collection_modifyitems(items):
            print("\\nin collection:", gc.isenabled())
        """
    )
    result = project.run(good.name, "--co", "-q", "-s")
    result.stdout.fnmatch_lines(["in collection: False", "searching: True left out: True"])
    failed = project.run(good.name, bad.name, "--co", "-q", "-s")
    assert failed.ret != 0
    assert not any("searching: False" in line for line in failed.outlines)
    project.pytester.makepyfile(test_plain="def test_plain(): pass")
    plain = project.run("test_plain.py", "--co", "-q", "-s")
    plain.stdout.fnmatch_lines(["in collection: True", "searching: True left out: False"])


def test_a_playbook_that_changed_between_two_sessions_is_read_again(pytester, monkeypatch):
    monkeypatch.setenv("HOME", str(pytester.path))
    path = pytester.path / f"small{SUFFIX}"
    text = PLAYBOOKS[0].read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    first, _ = pytester.inline_genitems(path)
    path.write_text(text.replace("formats: [safetensors, apr, gguf]", "formats: [safetensors]"), encoding="utf-8")
    second, _ = pytester.inline_genitems(path)
    assert any("[gguf" in item.nodeid for item in first)
    assert second
    assert not any("[gguf" in item.nodeid for item in second)
