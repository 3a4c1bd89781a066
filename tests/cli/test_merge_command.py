"""aprqa merge: run folders of shards become one run folder, whatever their order; what is wrong is one line."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.evidence.collection_record import collection_digest
from pytest_aprqa.evidence.log import EvidenceLog, read_log
from tests.reporting.attempt_factory import attempt

CHECKS = ("test_a", "test_b", "test_c", "test_d")


def write_shard(folder, checks, number, total=2, **metadata):
    names = [f"tiny-mvp.playbook.yaml::{check}[gguf-cpu-chat]" for check in CHECKS]
    marks = {
        "shard": f"{number}/{total}",
        "shard_items": str(len(checks)),
        "split_sha256": collection_digest(names),
        "split_items": str(len(names)),
        "collection_sha256": collection_digest(names),
        "collection_items": str(len(names)),
    }
    folder.mkdir()
    with EvidenceLog(folder / "evidence.jsonl") as log:
        for check in checks:
            order = {"order": str(CHECKS.index(check))}
            log.append(attempt(check=check, metadata=order | marks | metadata))
    return folder


@pytest.fixture
def shards(tmp_path):
    return write_shard(tmp_path / "1", CHECKS[::2], 1), write_shard(tmp_path / "2", CHECKS[1::2], 2)


def test_the_merged_folder_has_log_and_reports_and_order_does_not_matter(shards, tmp_path, capsys):
    first, second = tmp_path / "ab", tmp_path / "ba"
    assert call(["merge", *map(str, shards), "-o", str(first)]) == 0
    assert "merged  2 runs: 4 of 4 items" in capsys.readouterr().out
    assert call(["merge", *map(str, reversed(shards)), "-o", str(second)]) == 0
    names = sorted(path.name for path in first.iterdir())
    assert {"evidence.jsonl", "evidence.json", "mqs.json", "junit.xml", "report.md", "report.html"} <= set(names)
    assert [(first / name).read_bytes() for name in names] == [(second / name).read_bytes() for name in names]
    assert [entry.check for entry in read_log(first / "evidence.jsonl")] == list(CHECKS)


def test_json_says_that_the_run_is_whole(shards, tmp_path, capsys):
    assert call(["merge", *map(str, shards), "-o", str(tmp_path / "all"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["items"], told["items_of_the_playbook"], told["complete"]) == (4, 4, True)
    assert told["score"]["total_tests"] == 4


def test_a_missing_shard_is_one_line_and_nothing_is_written(shards, tmp_path, capsys):
    assert call(["merge", str(shards[0]), "-o", str(tmp_path / "all")]) == 1
    assert capsys.readouterr().err == "error: shard 2/2 is missing (found 2 of 4 items); run it and merge again\n"
    assert not (tmp_path / "all").exists()


def test_a_folder_named_twice_is_refused(shards, tmp_path, capsys):
    assert call(["merge", str(shards[0]), str(shards[0]), "-o", str(tmp_path / "all")]) == 1
    assert "named twice" in capsys.readouterr().err


def test_a_run_is_not_overwritten(shards, tmp_path, capsys):
    assert call(["merge", *map(str, shards), "-o", str(shards[0])]) == 1
    assert "holds evidence.jsonl already" in capsys.readouterr().err


def test_another_playbook_is_refused(tmp_path, capsys):
    one = write_shard(tmp_path / "1", CHECKS[::2], 1, playbook_sha256="a" * 64)
    other = write_shard(tmp_path / "2", CHECKS[1::2], 2, playbook_sha256="b" * 64)
    assert call(["merge", str(one), str(other), "-o", str(tmp_path / "all")]) == 1
    assert "another playbook tiny-mvp" in capsys.readouterr().err


def test_the_shard_without_an_item_may_be_given_or_left_out(tmp_path):
    full = write_shard(tmp_path / "1", CHECKS, 1)
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "evidence.jsonl").touch()
    assert call(["merge", str(full), str(tmp_path / "2"), "-o", str(tmp_path / "with")]) == 0
    assert call(["merge", str(full), "-o", str(tmp_path / "without")]) == 0


def test_without_folders_it_is_wrong_use(tmp_path):
    assert call(["merge", "-o", str(tmp_path / "all")]) == 2


def test_a_shard_reports_itself_as_incomplete_and_the_merged_run_does_not(shards, tmp_path, capsys):
    said = {}
    assert call(["merge", *map(str, shards), "-o", str(tmp_path / "all")]) == 0
    for folder in (*shards, tmp_path / "all"):
        assert call(["report", str(folder), "--formats", "json", "--quiet"]) == 0
        said[folder.name] = " ".join(json.loads((folder / "mqs.json").read_text())["status_reasons"])
    assert "shard 1/2: only aprqa merge of all shards" in said["1"]
    assert "a part of the playbook: 2 of 4 items" in said["2"]
    assert "shard" not in said["all"]
    assert "a part" not in said["all"]
