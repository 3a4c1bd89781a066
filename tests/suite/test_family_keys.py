"""Keys of single families in GGUF: the converter writes the right ones, a changed or lost one is named."""

import shutil

import pytest

from pytest_aprqa.defects.declarations import edit_gguf, remove_gguf, set_gguf
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.other_declarations import other_declarations
from tests.lifecycle.reshaped_families import family_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("family-keys")


def files_of(place, family):
    """(source folder, GGUF file) of a family."""
    folder = place / family
    if not folder.is_dir():
        folder.mkdir()
        family_folder(folder, family)
    return folder, derive(folder, "gguf", cache=place / "cache").path


def differing(source, target):
    with open_artifact(source) as first, open_artifact(target) as second:
        rows = other_declarations(first, second)
    return {field: (found, expected) for field, (found, expected, same) in rows.items() if not same}


@pytest.mark.parametrize(
    ("family", "change", "named"),
    [
        ("phi", edit_gguf("{arch}.rope.dimension_count", lambda count: count // 2), {"rope.dimension_count": (4, 8)}),
        ("phi", remove_gguf("{arch}.rope.dimension_count"), {"rope.dimension_count": (16, 8)}),
        ("gpt_neox", set_gguf("{arch}.use_parallel_residual", False), {"use_parallel_residual": (False, True)}),
        ("olmo", remove_gguf("{arch}.attention.clamp_kqv"), {"attention.clamp_kqv": (0.0, 2.0)}),
        ("gemma3_text", set_gguf("{arch}.rope.freq_base_swa", 500.0), {"rope.freq_base_swa": (500.0, 10000.0)}),
        ("gemma3_text", remove_gguf("{arch}.rope.freq_base_swa"), {}),
        ("gemma3_text", remove_gguf("{arch}.attention.sliding_window_pattern"), {}),
        ("llama", remove_gguf("{arch}.rope.dimension_count"), {}),
        ("granite", remove_gguf("{arch}.residual_scale"), {"residual_scale": (1.0, 0.5)}),
        ("gpt2", None, {}),
        ("deepseek_v2", None, {}),
    ],
)
def test_a_key_of_a_family_that_is_another_or_lost(place, tmp_path, family, change, named):
    source, clean = files_of(place, family)
    assert differing(source, clean) == {}
    if change is not None:
        other = tmp_path / "other.gguf"
        shutil.copyfile(clean, other)
        change(other)
        assert differing(source, other) == named


@pytest.mark.parametrize(("period", "same"), [(6, True), (0, False), (7, False)])
def test_windows_told_by_their_period_are_those_told_layer_by_layer(place, tmp_path, period, same):
    from pytest_aprqa.defects.declarations import add_gguf

    source, clean = files_of(place, "gemma3_text")
    other = tmp_path / "other.gguf"
    shutil.copyfile(clean, other)
    add_gguf(("{arch}.attention.sliding_window_pattern", "uint32", period))(other)
    assert (differing(source, other) == {}) == same
