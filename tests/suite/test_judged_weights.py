"""Both files are read once: verdicts of all tensors, and figures of the artifact's values for the gates that ask."""

import math
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.read_ahead import ReadAhead
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.formats.tensor_file import TensorFile
from pytest_aprqa.lifecycle.conversion_paths import convert
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite import judged_weights as subject
from pytest_aprqa.suite.judged_weights import judged_weights, read_beside_the_source
from pytest_aprqa.suite.tensor_values import count_values, norms_of, values_of

EMBEDDING = "model.embed_tokens.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.fixture(params=["random_qwen2_folder", "random_llama_folder"])
def pair(request, tmp_path):
    """The source and its GGUF form, open; of the Llama the rows of q and k stand in another order."""
    folder = request.getfixturevalue(request.param)
    with open_artifact(folder) as a, open_artifact(convert(folder, ["gguf"], tmp_path)) as b:
        yield a, b


def test_every_common_tensor_is_judged_once_in_the_source_s_order(pair):
    judged = judged_weights(*pair)
    assert list(judged) == pair[0].tensors.names()
    assert {problem for _, _, problem in judged.values()} == {None}
    assert max(nmse for _, nmse, _ in judged.values()) == 0
    assert judged_weights(*pair) is judged
    assert judged_weights(pair[1], pair[1]) is not judged


def test_figures_of_the_values_are_those_of_a_pass_of_their_own(pair):
    file, tensors = pair[1].file, pair[1].tensors
    alone = {name: count_values(file, name) for name in file.entries}
    norms = norms_of(SimpleNamespace(file=_Key(), entry=tensors.entry, chunks=tensors.chunks), EMBEDDING)
    judged_weights(*pair)
    for name, expected in alone.items():
        found = values_of(file, name)
        assert (found.total, found.nan, found.infinite, found.nonzero) == (
            expected.total, expected.nan, expected.infinite, expected.nonzero,
        )  # fmt: skip
        assert (found.minimum, found.maximum) == (expected.minimum, expected.maximum)
        assert found.squares == pytest.approx(expected.squares, rel=1e-5)
    np.testing.assert_allclose(norms_of(tensors, EMBEDDING), norms, rtol=1e-6)


class _Key:
    """Something else than the file: nothing is known about it."""


def test_matrices_are_not_read_again_for_their_figures(pair, monkeypatch):
    judged_weights(*pair)
    read = []
    plain = TensorFile.sums
    monkeypatch.setattr(TensorFile, "sums", lambda self, name: read.append(name) or plain(self, name))
    for name in pair[1].file.entries:
        values_of(pair[1].file, name)
    assert read
    assert all(len(pair[1].file.entries[name].shape) == 1 for name in read)


def test_an_error_is_kept_for_the_check_that_compares(pair, monkeypatch):
    def broken(*arguments):
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(subject, "_value_problem", broken)
    assert all(isinstance(one, KeyError) and one.__traceback__ is None for one in judged_weights(*pair).values())


def test_it_tells_how_far_it_is(pair, monkeypatch):
    monkeypatch.setattr(subject, "_TOLD_SECONDS", 0.0)
    told = []
    judged_weights(*pair, told.append)
    assert len(told) == len(pair[0].tensors.names())
    assert any(text.startswith(f"weights of {pair[1].file.path.name}: 100%") for text in told)


def test_only_one_thread_tells_at_a_time(monkeypatch):
    """The note is one file: two that write it at once would empty it, or lose it."""
    monkeypatch.setattr(subject, "_TOLD_SECONDS", 0.0)
    telling, clashes = threading.Lock(), []

    def tell(text):
        clashes.append(not telling.acquire(blocking=False))
        time.sleep(0.002)
        telling.release()

    progress = subject._Progress(tell, "model.gguf", 40)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(progress.add, [1] * 40))
    assert clashes == [False] * 40


@pytest.mark.parametrize(
    ("workers", "order", "judges"),
    [
        (1, [f"m.playbook.yaml::{subject.CHECK}[gguf]"], True),
        (2, [f"m.playbook.yaml::{subject.CHECK}[gguf]"], False),
        (1, ["m.playbook.yaml::test_tensor_values_are_sound[gguf]"], False),
    ],
)
def test_the_source_is_read_too_only_where_this_process_will_compare(pair, workers, order, judges, monkeypatch):
    judged = []
    monkeypatch.setattr(subject, "judged_weights", lambda *arguments: judged.append(arguments))
    model = SimpleNamespace(opened_source=lambda: pair[0], tell=print)
    state = SimpleNamespace(workers=workers, order=dict.fromkeys(order, 0))
    read_beside_the_source(model, pair[1], state)
    assert bool(judged) == judges
    judged.clear()
    read_beside_the_source(SimpleNamespace(opened_source=lambda: pair[1], tell=print), pair[1], state)
    assert not judged, "the source itself has nothing to be compared with"


@pytest.mark.parametrize("compiled", [False, True])
def test_defects_are_named_by_both_ways_of_computing(random_qwen2_folder, tmp_path, compiled, monkeypatch):
    if compiled:
        pytest.importorskip("numba")
        monkeypatch.setattr(subject, "WORTH_COMPILING", 0)
    clean = convert(random_qwen2_folder, ["gguf"], tmp_path)
    broken = tmp_path / "broken.gguf"
    apply_defect("gguf-tensor-scaled", clean, broken)
    with open_artifact(random_qwen2_folder) as a, open_artifact(broken) as b:
        problems = [one[2] for one in judged_weights(a, b).values() if one[2] is not None]
    assert len(problems) == 1
    assert problems[0][3].startswith("scaled by about 1.25")
    assert not math.isnan(float(problems[0][1].removeprefix("NMSE ")))


@pytest.mark.parametrize(("found", "refuted"), [(1e-30, False), (0.0, True), (2e-30, True)])
@pytest.mark.parametrize("compiled", [False, True])
def test_an_exact_type_is_exact_below_the_squares_of_float32(
    random_qwen2_folder, tmp_path, found, refuted, compiled, monkeypatch
):
    """The square of 1e-30 is no float32: the sums of the rows see no difference."""
    monkeypatch.setattr(subject, "WORTH_COMPILING", 0 if compiled else math.inf)
    folders = []
    for number, value in enumerate((1e-30, found)):
        folder = shutil.copytree(random_qwen2_folder, tmp_path / str(number))
        with open_tensor_file(folder) as file:
            tensors = {name: file.read(name).astype(np.float32) for name in file.entries}
        tensors[DOWN][0, 0] = value
        stored = {n: ("F32", v.shape, codecs.encode("F32", v)) for n, v in tensors.items()}
        for old in folder.glob("*.safetensors"):
            old.unlink()
        write_safetensors(folder / "model.safetensors", stored)
        folders.append(folder)
    with open_artifact(folders[0]) as a, open_artifact(folders[1]) as b:
        nmse, problem = judged_weights(a, b)[DOWN][1:]
    assert (problem is not None) == refuted == (nmse > 0)


def test_the_disk_is_asked_for_each_tensor_of_both_files_in_the_order_of_the_comparison(pair, monkeypatch):
    asked, told = [], []

    class Recorded(ReadAhead):
        def __init__(self, parts, window):
            asked.extend(parts)
            super().__init__([], window)

        def used(self, size):
            told.append(size)

    monkeypatch.setattr(subject, "ReadAhead", Recorded)
    judged_weights(*pair)
    for side in pair:
        mine = [(at, size) for path, at, size in asked if path == side.file.files[0]]
        assert len(mine) == len(side.file.entries)
        assert set(mine) == {(entry.offset, entry.nbytes) for entry in side.file.entries.values()}
        sizes = [size for _, size in mine]
        assert sizes == sorted(sizes, reverse=True)
    # Else the window closes before the end, or opens too far.
    assert sum(told) == sum(size for _, _, size in asked)


def test_of_a_stack_of_experts_each_is_asked_for_once(tmp_path):
    values = np.zeros((3, 4, 32), np.float32)
    path = tmp_path / "m.gguf"
    write_gguf(path, "qwen3moe", [], [("blk.1.ffn_gate_exps.weight", "F32", values.shape, values)])
    with open_tensor_file(path) as file:
        side = SimpleNamespace(file=file, tensors=CanonicalTensors(file, "qwen3moe", 4, 2))
        parts = [part for name in side.tensors.names() for part in list(subject._parts(side, side, name))[:1]]
    size, offset = values[0].nbytes, file.entries["blk.1.ffn_gate_exps.weight"].offset
    assert parts == [(path, offset + number * size, size) for number in range(3)]


def test_what_was_split_is_asked_for_in_all_its_parts(tmp_path):
    path, part = tmp_path / "m.gguf", np.zeros((4, 32), np.float32)
    names = [f"blk.0.attn_{name}.weight" for name in "qkv"]
    write_gguf(path, "phi3", [], [(name, "F32", part.shape, part) for name in names])
    with open_tensor_file(path) as file:
        side = SimpleNamespace(file=file, tensors=CanonicalTensors(file, "phi3", 4, 4))
        asked = [one for name in side.tensors.names() for one in subject._parts(side, side, name)]
    assert set(asked) == {(path, file.entries[name].offset, part.nbytes) for name in names}
