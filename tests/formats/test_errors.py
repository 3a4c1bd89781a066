"""A FormatError is one printable line with its facts, and crosses process borders."""

import contextlib
import pickle
from pathlib import Path

import pytest

from pytest_aprqa.formats.atomic_file import replaced_atomically
from pytest_aprqa.formats.errors import FormatError, UndecodableType, printable
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.json_text import MAX_DEPTH, parse_json_object
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.models.errors import ModelError, ModelNotFound


def test_the_line_has_path_place_problem_facts_and_advice():
    error = FormatError(Path("/m/x.gguf"), "offset 8", "is too large", found=9, limit=8, advice="download it again")
    assert str(error) == "/m/x.gguf: offset 8: is too large (found 9, limit 8); download it again"
    assert str(FormatError("x", "header", "is bad")) == "x: header: is bad"
    assert isinstance(error, ValueError)


def test_hostile_text_stays_on_one_short_line():
    error = FormatError("a\nb", "tensor '\x1b[31m'", "bad", found="\ud800\r\n" + "x" * 10_000, advice="a\nb")
    assert str(error).isprintable()
    assert len(str(error)) < 400
    str(error).encode("utf-8")


def test_huge_integers_are_described_not_printed():
    assert printable(10**5000) == "an integer of 16610 bits"
    assert printable(2**64) == "18446744073709551616"


def test_it_survives_pickling():
    error = FormatError("x", "header", "is bad", found=b"\0", limit=3, advice="stop")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    assert (again.path, again.where, again.found, again.limit) == ("x", "header", b"\0", 3)


@pytest.mark.parametrize(("depth", "fine"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
def test_json_depth_limit(depth, fine):
    text = b'{"a":' * (depth - 1) + b"[]" + b"}" * (depth - 1)
    if fine:
        parse_json_object("x", "header", text)
    else:
        with pytest.raises(FormatError, match=r"nested too deeply \(limit 64 levels\)"):
            parse_json_object("x", "header", text)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    target = tmp_path / "sub" / "x"
    with replaced_atomically(target) as partial:
        partial.write_bytes(b"old")
    with contextlib.suppress(RuntimeError), replaced_atomically(target) as partial:
        partial.write_bytes(b"half of the new")
        raise RuntimeError("stop")
    assert target.read_bytes() == b"old"
    assert [path.name for path in target.parent.iterdir()] == ["x"]


@pytest.mark.parametrize(
    "error",
    [
        FormatError("a", "b", "c", found=1, limit=2, advice="d"),
        ModelError("a", "", "c"),
        LifecycleError("a", "b", "c\nd"),
        ModelNotFound("org/name", ["here", "there"], "hf download org/name"),
    ],
)
def test_located_errors_cross_process_borders(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
    assert "\n" not in str(error)


def test_terminal_codes_in_a_file_do_not_reach_the_terminal():
    assert "\x1b" not in str(ModelError("config.json", "model_type", "unknown", found="\x1b[2Jgone"))


def test_a_type_without_decoder_is_told_from_a_file_that_breaks_its_format(tmp_path):
    """One that crossed a process border too: nothing is known about such a tensor, neither good nor bad."""
    write_gguf(tmp_path / "x.gguf", "llama", [], [("w", "IQ3_S", (1, 256), bytes(110))])
    with open_tensor_file(tmp_path / "x.gguf") as file:
        for read in (file.read, file.read_native, file.sums, lambda name: next(file.chunks(name))):
            with pytest.raises(UndecodableType, match="cannot decode IQ3_S") as caught:
                read("w")
        with pytest.raises(FormatError) as absent:
            file.read("v")
    assert type(pickle.loads(pickle.dumps(caught.value))) is UndecodableType
    assert not isinstance(absent.value, UndecodableType)
