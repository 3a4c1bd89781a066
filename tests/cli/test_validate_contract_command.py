"""`aprqa validate-contract`: each rule just kept and just broken, by the built-in contract and by one from a file."""

import json
from types import SimpleNamespace

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.layout_contract import (
    BYTES,
    HEAD,
    MATRIX,
    VECTOR,
    ContractError,
    LayoutReport,
    _judge,
    expected_bytes,
    load_contract,
    validate_layout,
)
from pytest_aprqa.lifecycle.conversion_paths import convert

CONTRACT = """
tensors:
  embedding: {apr_name: model.embed_tokens.weight, apr_shape: "[vocab, hidden]"}
  lm_head: {apr_name: lm_head.weight, apr_shape: "[vocab, hidden]"}
  q: {apr_name: "model.layers.{n}.self_attn.q_proj.weight", apr_shape: [num_heads*head_dim, hidden]}
  mystery: {apr_name: model.norm.weight, apr_shape: "[unknown_dim]"}
"""


def validated(path, capsys, *options):
    code = call(["validate-contract", str(path), "--format", "json", *options])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("steps", [[], ["apr"], ["gguf"]], ids=["safetensors", "apr", "gguf"])
def test_a_sound_file_of_every_format_conforms(random_llama_folder, steps, tmp_path, capsys):
    path = convert(random_llama_folder, steps, tmp_path) if steps else random_llama_folder
    code, report = validated(path, capsys)
    assert (code, report["status"], report["rules_failed"]) == (0, "PASS", 0)
    assert {row["rule"] for row in report["results"]} == {MATRIX, HEAD, VECTOR, BYTES}
    assert report["rules_checked"] == report["rules_passed"] == len(report["results"])


def test_a_transposed_projection_is_named_in_text(random_qwen2_folder, tmp_path, capsys):
    path = convert(random_qwen2_folder, ["gguf"], tmp_path)
    broken = apply_defect("gguf-projection-transposed", path, tmp_path / "broken.gguf")
    assert call(["validate-contract", str(broken)]) == 1
    text = capsys.readouterr().out
    assert "Status: FAIL" in text
    assert "Rules Failed: 1" in text
    (line,) = [line for line in text.splitlines() if "✗" in line]
    assert f"[{MATRIX}]" in line
    assert "(transposed)" in line


def test_only_what_is_critical_is_judged_on_request(random_llama_folder, tmp_path, capsys):
    code, report = validated(random_llama_folder, capsys, "--critical-only")
    assert code == 0
    assert {row["tensor"] for row in report["results"]} == {"lm_head.weight"}


def test_a_file_without_a_head_has_nothing_critical_and_that_is_no_pass(random_qwen2_folder, capsys):
    code, report = validated(random_qwen2_folder, capsys, "--critical-only")
    assert (code, report["status"], report["passed"]) == (1, "NOT EVALUATED", False)


def test_missing_and_unreadable_files_fail_under_their_own_names(tmp_path, capsys):
    code, report = validated(tmp_path / "absent.gguf", capsys)
    assert (code, report["results"][0]["rule"]) == (1, "FILE-EXISTS")
    (tmp_path / "page.gguf").write_text("<html>")
    code, report = validated(tmp_path / "page.gguf", capsys)
    assert (code, report["results"][0]["rule"]) == (1, "PARSE-ERROR")


@pytest.mark.parametrize(
    ("dtype", "shape", "expected"),
    [
        ("Q4_K", (11008, 4096), 25_362_432),
        ("Q6_K", (151936, 896), 127_626_240),
        ("Q8_0", (4, 64), 4 * 2 * 34),
        ("F32", (7,), 28),
        ("BF16", (3, 5), 30),
        ("APR_Q8", (3, 5), None),
        ("F32", (), None),
    ],
)
def test_bytes_of_the_contract(dtype, shape, expected):
    assert expected_bytes(dtype, shape) == expected


@pytest.mark.parametrize(("nbytes", "passed"), [(271, False), (272, True), (273, False)])
def test_a_byte_more_or_less_breaks_the_rule(nbytes, passed):
    (result,) = _judge(TensorEntry("x", "Q8_0", (4, 64), 0, nbytes), None)
    assert (result.rule, result.passed) == (BYTES, passed)


def test_a_contract_from_a_file_is_applied_and_unknown_dimensions_pass(random_llama_folder, tmp_path):
    path = tmp_path / "contract.yaml"
    path.write_text(CONTRACT)
    report = validate_layout(random_llama_folder, path)
    shaped = [r for r in report.results if r.rule != BYTES]
    assert report.status == "PASS"
    assert {r.tensor for r in shaped} == {
        "model.embed_tokens.weight", "lm_head.weight", *(f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1)),
    }  # fmt: skip
    path.write_text(CONTRACT.replace("num_heads*head_dim, hidden", "num_heads*head_dim, inter"))
    assert [r.rule for r in validate_layout(random_llama_folder, path).failed] == [MATRIX, MATRIX]


@pytest.mark.parametrize(
    "text", ["", "tensors: {}\n", "a: 1\n", "tensors: {q: 1}\n", "tensors: {q: {apr_name: x, apr_shape: '[a; b]'}}\n"]
)
def test_a_contract_that_cannot_be_read_says_where(text, tmp_path, capsys):
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    with pytest.raises(ContractError, match="F-CONTRACT-LOAD-001"):
        load_contract(path)
    assert call(["validate-contract", str(tmp_path), "--contract-path", str(path)]) == 1
    assert "F-CONTRACT-LOAD-001" in capsys.readouterr().err


def test_a_report_without_results_is_not_a_pass():
    assert LayoutReport("x", "y").status == "NOT EVALUATED"
    assert SimpleNamespace(**LayoutReport("x", "y").to_json()).passed is False
