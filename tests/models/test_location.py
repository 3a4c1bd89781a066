"""Where models are looked for: the order of places, of files in a place, and the message when none holds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_aprqa.models.errors import ModelNotFound
from pytest_aprqa.models.location import find_artifact_file, hub_cache, locate_model

REPO = "Qwen/Qwen2.5-Coder-1.5B-Instruct"
SHORT = "qwen2-5-coder-1-5b-instruct"


def model_at(folder: Path, name: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"x")
    return folder


def locate(tmp_path: Path, **changes):
    settings = {"model_path": None, "model_cache": None, "local_path": None, "environ": {"HOME": str(tmp_path)}}
    return locate_model(REPO, **(settings | changes))


def hub(root: Path) -> Path:
    return root / "models--Qwen--Qwen2.5-Coder-1.5B-Instruct"


# -- places ------------------------------------------------------------------------------------------------------------


def test_places_are_searched_in_their_order(tmp_path):
    """Each place is emptied after it was found: the next one in the order takes its turn."""
    cache, home = tmp_path / "cache", tmp_path / "home"
    order = [
        ("local_path of the playbook", tmp_path / "local"),
        ("--model-cache", cache / REPO),
        ("--model-cache", cache / SHORT),
        ("Hugging Face cache", hub(home / ".cache/huggingface/hub") / "snapshots" / "abc"),
        ("apr cache", home / ".cache/apr-models" / REPO),
        ("apr cache", home / ".cache/apr-models" / SHORT),
        ("apr cache", home / ".cache/apr/models" / REPO),
        ("apr cache", home / ".cache/apr/models" / SHORT),
    ]
    for _, folder in order:
        model_at(folder)
    for how, folder in order:
        found = locate(tmp_path, model_cache=cache, local_path=tmp_path / "local", environ={"HOME": str(home)})
        assert (found.how, found.folder) == (how, folder)
        (folder / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound):
        locate(tmp_path, model_cache=cache, local_path=tmp_path / "local", environ={"HOME": str(home)})


def test_a_given_path_is_taken_or_refused_and_nothing_else_is_tried(tmp_path):
    model_at(tmp_path / "local")
    found = locate(tmp_path, model_path=model_at(tmp_path / "mine"), local_path=tmp_path / "local")
    assert (found.folder, found.how) == (tmp_path / "mine", "--model-path")
    with pytest.raises(ModelNotFound) as caught:
        locate(tmp_path, model_path=tmp_path / "absent", local_path=tmp_path / "local")
    assert caught.value.places == [f"--model-path {tmp_path / 'absent'} (does not exist)"]


def test_a_given_file_is_taken(tmp_path):
    file = model_at(tmp_path / "mine", "m.gguf") / "m.gguf"
    assert locate(tmp_path, model_path=file).folder == file
    other = model_at(tmp_path / "mine", "notes.txt") / "notes.txt"
    with pytest.raises(ModelNotFound, match="is not a model file"):
        locate(tmp_path, model_path=other)


def test_an_absent_model_names_every_place_and_the_command(tmp_path):
    (tmp_path / "local").mkdir()
    with pytest.raises(ModelNotFound) as caught:
        locate(tmp_path, model_cache=tmp_path / "cache", local_path=tmp_path / "local")
    error = caught.value
    assert error.repo == REPO
    assert error.command == f"hf download {REPO}"
    assert [place.split(" (")[1] for place in error.places] == [
        "has no safetensors, apr or gguf file)",
        *["does not exist)"] * 7,
    ]
    for part in (tmp_path / "cache" / SHORT, hub(tmp_path / ".cache/huggingface/hub"), tmp_path / ".cache/apr/models"):
        assert str(part) in str(error)
    assert str(error).endswith(f"get it with: hf download {REPO}")
    assert "\n" not in str(error)


@pytest.mark.parametrize("repo", ["../../etc/x", "a//b", "/etc", "..", "", "a/./b"])
def test_a_name_cannot_lead_out_of_a_cache(tmp_path, repo):
    model_at(tmp_path / "etc" / "x")
    with pytest.raises(ModelNotFound) as caught:
        locate_model(repo, model_path=None, model_cache=tmp_path / "a" / "b", local_path=None, environ={})
    assert caught.value.places == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_place_is_named_and_passed_over(tmp_path):
    closed = model_at(tmp_path / "local")
    closed.chmod(0)
    try:
        with pytest.raises(ModelNotFound, match=r"local \(cannot be read\)"):
            locate(tmp_path, local_path=closed)
    finally:
        closed.chmod(0o755)


# -- the Hugging Face cache --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HUGGINGFACE_HUB_CACHE": "/a", "HF_HUB_CACHE": "/b", "HF_HOME": "/c", "HOME": "/h"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "", "HF_HUB_CACHE": "/b", "HF_HOME": "/c", "HOME": "/h"}, "/b"),
        ({"HF_HOME": "/c", "HOME": "/h"}, "/c/hub"),
        ({"HF_HOME": "", "HOME": "/h"}, "/h/.cache/huggingface/hub"),
        ({"HF_HOME": "~/x", "HOME": "/h"}, "/h/x/hub"),
        ({"HUGGINGFACE_HUB_CACHE": "~", "HOME": "/h"}, "/h"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_environment_says(environ, expected):
    assert hub_cache(environ) == Path(expected)


def test_relative_and_missing_roots_start_at_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub_cache({"HF_HOME": "rel"}) == tmp_path / "rel" / "hub"
    assert hub_cache({}) == tmp_path / ".cache/huggingface/hub"


def test_the_revision_of_main_comes_before_newer_snapshots(tmp_path):
    root = hub(tmp_path)
    old, new = model_at(root / "snapshots" / "aaa"), model_at(root / "snapshots" / "bbb")
    os.utime(old, (1000, 1000))
    environ = {"HF_HUB_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    assert locate(tmp_path, environ=environ).folder == new
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("aaa\n")
    assert locate(tmp_path, environ=environ).folder == old


def test_a_snapshot_without_weights_is_passed_over(tmp_path):
    root = hub(tmp_path)
    (root / "snapshots" / "aaa").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("aaa")
    whole = model_at(root / "snapshots" / "bbb")
    environ = {"HF_HUB_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    assert locate(tmp_path, environ=environ).folder == whole


@pytest.mark.parametrize("reference", ["../../../elsewhere", "..", ".", "/elsewhere", "", "a\x00b", "a/b", "x" * 5000])
def test_a_hostile_reference_leads_nowhere(tmp_path, reference):
    root = hub(tmp_path)
    model_at(tmp_path / "elsewhere")
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(reference)
    with pytest.raises(ModelNotFound):
        locate(tmp_path, environ={"HF_HUB_CACHE": str(tmp_path), "HOME": str(tmp_path)})


def test_a_sharded_snapshot_of_links_is_found(tmp_path):
    root = hub(tmp_path)
    blob = model_at(root / "blobs", "123") / "123"
    snapshot = root / "snapshots" / "aaa"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors.index.json").symlink_to(blob)
    environ = {"HF_HUB_CACHE": str(tmp_path), "HOME": str(tmp_path)}
    assert locate(tmp_path, environ=environ).folder == snapshot


# -- files -------------------------------------------------------------------------------------------------------------


def test_files_of_a_folder_are_searched_in_their_order(tmp_path):
    order = [
        "safetensors/model.safetensors",
        "safetensors/model.safetensors.index.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "safetensors/a.safetensors",
        "other.safetensors",
    ]
    for name in order:
        model_at((tmp_path / name).parent, Path(name).name)
    for name in order:
        assert find_artifact_file(tmp_path, "safetensors") == tmp_path / name
        (tmp_path / name).unlink()
    assert find_artifact_file(tmp_path, "safetensors") is None


@pytest.mark.parametrize(
    "name",
    ["m.converted.gguf", "m.idem.gguf", "m.com_x.gguf", "m.rt_y.gguf", "adapter_model.gguf", "consolidated.gguf"],
)
def test_leftovers_are_not_the_model(tmp_path, name):
    model_at(tmp_path, name)
    assert find_artifact_file(tmp_path, "gguf") is None
    model_at(tmp_path, "zz.gguf")
    assert find_artifact_file(tmp_path, "gguf") == tmp_path / "zz.gguf"


def test_the_other_formats_of_a_file_are_its_siblings(tmp_path):
    file = model_at(tmp_path, "qwen2.5-coder-7b-instruct-q4k.gguf") / "qwen2.5-coder-7b-instruct-q4k.gguf"
    assert find_artifact_file(file, "gguf") == file
    assert find_artifact_file(file, "apr") is None
    model_at(tmp_path, "unrelated.apr")
    assert find_artifact_file(file, "apr") is None
    model_at(tmp_path, "qwen2.5-coder-7b-f16.apr")
    assert find_artifact_file(file, "apr") == tmp_path / "qwen2.5-coder-7b-f16.apr"
    model_at(tmp_path, "qwen2.5-coder-7b-instruct-q4k.apr")
    assert find_artifact_file(file, "apr") == tmp_path / "qwen2.5-coder-7b-instruct-q4k.apr"


def test_an_index_is_a_safetensors_file_only(tmp_path):
    index = model_at(tmp_path, "model.safetensors.index.json") / "model.safetensors.index.json"
    assert find_artifact_file(index, "safetensors") == index
    assert find_artifact_file(index, "gguf") is None


def test_a_place_that_is_not_there_has_no_files(tmp_path):
    assert find_artifact_file(tmp_path / "absent", "apr") is None
