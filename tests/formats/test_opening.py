"""A file is recognised by its bytes; what is not a model file is explained with what to do."""

import os

import pytest

from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import sha256_of
from tests.formats.raw_files import good_apr, good_gguf, good_safetensors, name_bytes, safetensors_bytes


@pytest.mark.parametrize("name", ["model.bin", "model.gguf", "model.apr", "model.safetensors"])
@pytest.mark.parametrize(
    ("make", "format_"), [(good_apr, "apr"), (good_gguf, "gguf"), (good_safetensors, "safetensors")]
)
def test_content_decides_not_the_name(tmp_path, name, make, format_):
    (tmp_path / name).write_bytes(make())
    with open_tensor_file(tmp_path / name) as file:
        assert file.format == format_
        assert file.files == [tmp_path / name]


@pytest.mark.parametrize("name", ["model.bin", "model.gguf", "model.apr", "model.safetensors"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML or XML page"),
        (b"\xef\xbb\xbf \n<html>", "HTML or XML page"),
        (b'{"error":"Repository not found"}', "JSON text|header"),
        (b"[1, 2, 3]", "JSON text"),
        (b"PK\x03\x04" + bytes(40), "can run code"),
        (b"\x80\x02}q\x00." + bytes(40), "can run code"),
        (b"FUGG" + bytes(40), "big-endian"),
        (b"tjgg" + bytes(40), "old GGML"),
        (b"\x1f\x8b\x08" + bytes(40), "compressed archive"),
        (b"GGUF", "past the end"),
        (b"APR\0", "too small"),
        (b"APRN" + bytes(100), "import the model again"),
    ],
    ids=name_bytes,
)
def test_impostors_are_named_with_advice(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=words) as caught:
        open_tensor_file(tmp_path / name)
    assert caught.value.advice
    assert "\n" not in str(caught.value)


def test_random_bytes_are_not_a_model(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(100, 160)))
    with pytest.raises(FormatError, match="is not a SafeTensors, GGUF or APR file"):
        open_tensor_file(tmp_path / "x")


def test_a_header_length_that_looks_like_a_pickle_is_still_safetensors(tmp_path):
    (tmp_path / "x").write_bytes(safetensors_bytes(b"{}" + b" " * (0x0280 - 2)))
    assert (tmp_path / "x").read_bytes()[:2] == b"\x80\x02"
    open_tensor_file(tmp_path / "x").close()


def test_missing_files_and_pipes_are_refused_at_once(tmp_path):
    with pytest.raises(FormatError, match="cannot be opened"):
        open_tensor_file(tmp_path / "none")
    with pytest.raises(FormatError, match="cannot be opened"):
        open_tensor_file("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="not a regular file"):
        open_tensor_file(tmp_path / "pipe")


def test_sha256_is_the_plain_digest_of_one_file(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of([tmp_path / "x"]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(FormatError, match="cannot be read"):
        sha256_of([tmp_path / "none"])
