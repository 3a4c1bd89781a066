import json

import pytest

from pytest_aprqa.cli.main import call


def inspected(path, capsys):
    assert call(["inspect", str(path), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_folder_of_safetensors_shows_sizes_types_configuration_and_tokenizer(random_qwen2_folder, capsys):
    facts = inspected(random_qwen2_folder, capsys)
    config = json.loads((random_qwen2_folder / "config.json").read_text())
    assert facts["format"] == "safetensors"
    assert facts["bytes"] == (random_qwen2_folder / "model.safetensors").stat().st_size
    assert sum(row["tensors"] for row in facts["dtypes"].values()) == facts["tensors"] > 0
    assert sum(row["values"] for row in facts["dtypes"].values()) == facts["values"]
    assert facts["config"]["hidden_size"] == config["hidden_size"]
    assert facts["config"]["num_kv_heads"] == config["num_key_value_heads"]
    assert facts["tokenizer"]["tokens"] > 0
    assert facts["tokenizer"]["chat_template"] is True


@pytest.mark.parametrize("format_name", ["gguf", "apr"])
def test_a_derived_file_declares_the_same_configuration(
    random_qwen2_folder, format_name, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("APRQA_CACHE", str(tmp_path / "cache"))
    output = tmp_path / f"m.{format_name}"
    assert call(["derive", str(random_qwen2_folder), "--format", format_name, "-o", str(output)]) == 0
    capsys.readouterr()
    source, derived = inspected(random_qwen2_folder, capsys), inspected(output, capsys)
    assert derived["format"] == format_name
    for field in ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "vocab_size", "rope_theta"):
        assert derived["config"][field] == source["config"][field]
    assert derived["tokenizer"]["end_ids"] == source["tokenizer"]["end_ids"]


def test_the_text_form_names_format_tensors_and_types(random_qwen2_folder, capsys):
    assert call(["inspect", str(random_qwen2_folder)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert lines["format"] == "safetensors"
    assert "BF16" in lines
    assert lines["hidden_size"] == "64"


def test_a_missing_configuration_is_named_and_the_rest_is_shown(random_qwen2_folder, tmp_path, capsys):
    lonely = tmp_path / "model.safetensors"
    lonely.write_bytes((random_qwen2_folder / "model.safetensors").read_bytes())
    facts = inspected(lonely, capsys)
    assert facts["config"] is None
    assert "config.json" in facts["config_problem"]
    assert facts["tensors"] > 0


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"GGUF\x03\x00", b"<html>\x1b[31m"]
)
def test_what_is_no_model_file_is_one_line(tmp_path, content, capsys):
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert call(["inspect", str(path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: {path}")
    assert message.count("\n") == 1
    assert "\x1b" not in message
