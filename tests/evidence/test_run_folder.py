import os
import re
from pathlib import Path

import pytest

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.run_folder import FolderBefore, create_run_folder, point_latest


def test_the_folder_is_named_by_utc_time_and_run_and_latest_points_to_it(tmp_path):
    folder = create_run_folder(tmp_path / "evidence", "tiny-qwen2-mvp")
    assert folder.is_dir()
    assert re.fullmatch(r"\d{8}T\d{6}Z-tiny-qwen2-mvp(-\d+)?", folder.name)
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert not Path((folder.parent / "latest").readlink()).is_absolute()  # the folder can be moved


def test_two_runs_of_one_second_get_folders_of_their_own(tmp_path):
    folders = [create_run_folder(tmp_path, "run") for _ in range(5)]
    assert len(set(folders)) == 5
    assert (tmp_path / "latest").resolve() == folders[-1].resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*(f.name for f in folders), "latest"])


def test_a_dangling_link_is_replaced(tmp_path):
    (tmp_path / "latest").symlink_to("gone")
    folder = create_run_folder(tmp_path, "run")
    assert (tmp_path / "latest").resolve() == folder.resolve()


def test_a_real_folder_named_latest_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "mine").write_text("kept")
    create_run_folder(tmp_path, "run")
    assert (tmp_path / "latest" / "mine").read_text() == "kept"


def test_the_link_is_never_absent_while_it_is_replaced(tmp_path, monkeypatch):
    first = create_run_folder(tmp_path, "first")
    seen = []
    replace = Path.replace

    def watch(self, target):
        seen.append((tmp_path / "latest").resolve())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watch)
    create_run_folder(tmp_path, "second")
    assert seen == [first.resolve()]


def test_a_file_system_without_links_still_gets_its_run(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", refuse)
    folder = create_run_folder(tmp_path, "run")
    point_latest(tmp_path, folder)
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    ("name", "ending"),
    [("a/b c", "a-b-c"), ("../../etc", "etc"), ("", "run"), ("...", "run"), ("é", "run"), ("x" * 300, "x" * 80)],
)
def test_a_name_never_leaves_the_folder(tmp_path, name, ending):
    folder = create_run_folder(tmp_path, name)
    assert folder.parent == tmp_path
    assert folder.name.split("-", 1)[1] == ending


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match=r"no run folder can be made there: .*; choose a folder") as caught:
        create_run_folder(tmp_path / "file" / "evidence", "run")
    assert "\n" not in str(caught.value)


def test_the_thousand_and_first_run_of_one_second_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pytest_aprqa.evidence.run_folder.RUNS_IN_A_SECOND", 0)
    with pytest.raises(EvidenceError, match="runs of one second"):
        create_run_folder(tmp_path, "run")


def tree(folder):
    return {str(p.relative_to(folder)): p.is_symlink() and str(p.readlink()) for p in folder.rglob("*")}


@pytest.mark.parametrize("latest", [None, "an-earlier-run", "../elsewhere/run"])
def test_a_run_that_never_began_leaves_all_as_it_was(tmp_path, latest):
    base = tmp_path / "deep" / "evidence"
    if latest is not None:
        base.mkdir(parents=True)
        (base / "latest").symlink_to(latest)
    before_tree = tree(tmp_path)
    before = FolderBefore(base)
    folder = create_run_folder(base, "run")
    (folder / "evidence.jsonl").touch()
    before.restore(folder)
    assert tree(tmp_path) == before_tree


def test_the_folders_of_a_given_place_are_removed_only_where_the_run_made_them(tmp_path):
    given = tmp_path / "out" / "of" / "run"
    for made in (False, True):
        before = FolderBefore(None, given=given)
        given.mkdir(parents=True, exist_ok=True)
        (given / "evidence.jsonl").touch()
        before.restore(given)
        assert given.exists() is made
        (tmp_path / "out" / "mine").mkdir(parents=True, exist_ok=True)
        given.mkdir(parents=True, exist_ok=True)
    assert (tmp_path / "out" / "mine").is_dir()


def test_what_a_later_run_made_of_the_link_stays(tmp_path):
    create_run_folder(tmp_path, "earlier")
    before = FolderBefore(tmp_path)
    folder = create_run_folder(tmp_path, "never-began")
    later = create_run_folder(tmp_path, "later")
    before.restore(folder)
    assert not folder.exists()
    assert (tmp_path / "latest").resolve() == later.resolve()


def test_a_folder_with_evidence_in_it_stays_the_latest(tmp_path):
    before = FolderBefore(tmp_path / "evidence")
    folder = create_run_folder(tmp_path / "evidence", "run")
    (folder / "evidence.jsonl").write_text("{}\n")
    before.restore(folder)
    assert (folder / "evidence.jsonl").read_text() == "{}\n"
    assert (tmp_path / "evidence" / "latest").resolve() == folder.resolve()


def test_a_real_folder_named_latest_is_not_taken_back(tmp_path):
    (tmp_path / "latest").mkdir()
    before = FolderBefore(tmp_path)
    before.restore(create_run_folder(tmp_path, "run"))
    assert (tmp_path / "latest").is_dir()
