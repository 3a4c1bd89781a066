import sys

import pytest

from pytest_aprqa.cli.main import call

MAGIC = {"gguf": b"GGUF", "apr": b"APR\0"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
def test_the_converted_file_is_named_and_whole(random_qwen2_folder, format_name, tmp_path, capsys):
    output = tmp_path / f"out.{format_name}"
    assert call(["derive", str(random_qwen2_folder), "--format", format_name, "-o", str(output)]) == 0
    assert output.read_bytes()[:4] == MAGIC[format_name]
    assert capsys.readouterr().out.startswith(f"{output} ({output.stat().st_size} bytes, sha256 ")
    assert not list(tmp_path.glob(".out*"))


def test_without_output_the_cached_file_is_named(random_qwen2_folder, tmp_path, capsys):
    assert call(["derive", str(random_qwen2_folder), "--format", "apr"]) == 0
    assert capsys.readouterr().out.startswith(str(tmp_path / "cache"))


def test_an_existing_output_is_kept_unless_forced(random_qwen2_folder, tmp_path, capsys):
    output = tmp_path / "mine.apr"
    output.write_text("mine")
    arguments = ["derive", str(random_qwen2_folder), "--format", "apr", "-o", str(output)]
    assert call(arguments) == 1
    assert "exists already" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert call([*arguments, "--force"]) == 0
    assert output.read_bytes()[:4] == MAGIC["apr"]


@pytest.mark.parametrize("arguments", [["--format", "onnx"], []])
def test_an_unknown_or_missing_format_is_wrong_use(random_qwen2_folder, arguments):
    assert call(["derive", str(random_qwen2_folder), *arguments]) == 2


def test_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    assert call(["derive", str(tmp_path), "--format", "gguf"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_matrices_of_another_type_than_asked_are_named(random_qwen2_folder, tmp_path, capsys):
    output = tmp_path / "out.gguf"
    arguments = ["derive", str(random_qwen2_folder), "--format", "gguf", "-o", str(output), "--force"]
    assert call([*arguments, "--dtype", "q4_k"]) == 0
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("warning: 22 of 22 matrices are not q4_k, their rows are not whole blocks: ")
    assert "token_embd.weight Q5_0, " in message
    assert message.endswith(" and 19 more")
    for dtype in ("q8_0", "f16", "native"):
        assert call([*arguments, "--dtype", dtype]) == 0
        assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_a_terminal(random_qwen2_folder, terminal, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(tmp_path))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert call(["derive", str(random_qwen2_folder), "--format", "apr"]) == 0
    shown = capsys.readouterr().err
    assert (" 14 %" in shown) == terminal
    assert shown.endswith("\r\x1b[K") if terminal else not shown  # the last line is wiped
