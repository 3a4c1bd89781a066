"""Names and paths of playbooks as users type them."""

from pathlib import Path

import pytest

from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.lookup import candidate_names, find_playbook


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A working folder, a project root and a bundled folder, each with playbooks of its own."""
    for name in (
        "cwd/here.playbook.yaml",
        "cwd/playbooks/near.playbook.yaml",
        "cwd/playbooks/models/deep.playbook.yaml",
        "root/playbooks/models/project-mvp.playbook.yaml",
        "root/playbooks/models/both.playbook.yaml",
        "root/playbooks/templates/mvp.yaml",
        "bundled/playbooks/models/tiny-mvp.playbook.yaml",
        "bundled/playbooks/models/both.playbook.yaml",
        "outside/far.yaml",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("name: x\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path


@pytest.fixture
def find(tree):
    """find_playbook in the tree; the result relative to it."""

    def find(name):
        found = find_playbook(str(name), [tree / "cwd", tree / "root"], bundled=tree / "bundled")
        assert found.is_absolute()
        return str(found.relative_to(tree))

    return find


@pytest.mark.parametrize("typed", ["{}", "{}.yaml", "{}.yml", "{}.playbook.yaml"])
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("here", "cwd/here.playbook.yaml"),
        ("near", "cwd/playbooks/near.playbook.yaml"),
        ("deep", "cwd/playbooks/models/deep.playbook.yaml"),
        ("project-mvp", "root/playbooks/models/project-mvp.playbook.yaml"),
        ("tiny-mvp", "bundled/playbooks/models/tiny-mvp.playbook.yaml"),
        ("both", "root/playbooks/models/both.playbook.yaml"),
    ],
)
def test_names(find, typed, name, path):
    assert find(typed.format(name)) == path


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("here.playbook.yaml", "cwd/here.playbook.yaml"),
        ("../outside/far.yaml", "outside/far.yaml"),
        ("playbooks/models/deep", "cwd/playbooks/models/deep.playbook.yaml"),
        ("playbooks/models/project-mvp.playbook.yaml", "root/playbooks/models/project-mvp.playbook.yaml"),
        ("models/project-mvp", "root/playbooks/models/project-mvp.playbook.yaml"),
        ("mvp", "root/playbooks/templates/mvp.yaml"),
        ("templates/mvp.yaml", "root/playbooks/templates/mvp.yaml"),
        (" here ", "cwd/here.playbook.yaml"),
    ],
)
def test_paths(find, typed, path):
    assert find(typed) == path


def test_absolute_path(find, tree):
    assert find(tree / "outside" / "far.yaml") == "outside/far.yaml"


def test_not_found_names_every_place_and_the_close_ones(find, tree):
    with pytest.raises(PlaybookError) as caught:
        find("projct-mvp")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "looked for projct-mvp, projct-mvp.playbook.yaml, projct-mvp.yaml in" in message
    assert "did you mean project-mvp" in message
    for root in ("cwd", "root", "bundled"):
        for folder in ("", "playbooks", "playbooks/models", "playbooks/templates"):
            assert str(tree / root / folder) in caught.value.places
            assert str(tree / root / folder) in message


def test_a_beginning_is_close(find):
    with pytest.raises(PlaybookError, match="did you mean project-mvp"):
        find("proj")


def test_nothing_close_lists_what_there_is(find):
    with pytest.raises(PlaybookError, match="playbooks here: both, deep, here, mvp, near, project-mvp, tiny-mvp"):
        find("zzzzzzzzzz")


@pytest.mark.parametrize(
    "name",
    ["", "  ", "x" * 5000, "nul\0byte", "a\nb", "\udcff", "/absent/x.playbook.yaml", "here.playbook.yaml/x"],
    ids=["empty", "blank", "long", "nul", "two-lines", "surrogate", "absolute", "below-a-file"],
)
def test_impossible_names_are_one_line_errors(find, name):
    with pytest.raises(PlaybookError) as caught:
        find(name)
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode("utf-8")


def test_folder(find):
    with pytest.raises(PlaybookError, match="is a folder"):
        find("playbooks")


def test_roots_that_do_not_exist(tmp_path):
    with pytest.raises(PlaybookError, match="no such playbook"):
        find_playbook("nothing-of-this-name", [tmp_path / "absent"], bundled=tmp_path / "absent-too")


def test_candidates_of_a_typed_name():
    assert candidate_names("a.yaml") == ["a.yaml", "a.playbook.yaml"]
    assert candidate_names("a") == ["a", "a.playbook.yaml", "a.yaml"]
    assert candidate_names("qwen2.5-mvp") == ["qwen2.5-mvp", "qwen2.5-mvp.playbook.yaml", "qwen2.5-mvp.yaml"]


def test_the_repository_playbooks_are_found_by_short_names():
    root = Path(__file__).resolve().parents[2]
    for name in ("qwen-coder-mvp.yaml", "qwen-coder-mvp", "tiny-qwen2-mvp"):
        stem = name.removesuffix(".yaml")
        expected = root / "playbooks" / "models" / f"{stem}.playbook.yaml"
        assert find_playbook(name, [Path("/nowhere")], bundled=root) == expected


def test_the_bundled_playbooks_are_the_last_place(tmp_path):
    assert find_playbook("tiny-qwen2-mvp", [tmp_path]).name == "tiny-qwen2-mvp.playbook.yaml"
    with pytest.raises(PlaybookError, match="did you mean tiny-qwen2-mvp"):
        find_playbook("tiny-qwen-mvp", [tmp_path])
