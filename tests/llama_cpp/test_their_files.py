"""Files that llama.cpp itself quantised: every type in them is decoded, none is refuted; a damaged one is."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.artifact_check import check
from pytest_aprqa.defects.block_operations import scale_head
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.numerics.limits import limit_for, limits_table
from pytest_aprqa.numerics.tensor_error import compare_tensors

llama_cpp: Any = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]"
)
pytestmark = pytest.mark.llama
TINY = Path(__file__).parents[2] / "models" / "tiny-qwen2"
#: Types that the mixtures may hold; on rows that are no multiple of 256 llama.cpp falls back to blocks of 32.
MIXTURES = {
    "Q8_0": {"Q8_0"},
    "Q4_0": {"Q4_0", "Q4_1", "Q8_0", "Q6_K"},
    "Q5_K_M": {"Q5_K", "Q6_K", "Q8_0", "Q5_1"},
    "Q4_K_M": {"Q4_K", "Q6_K", "Q5_0", "Q8_0"},
    "IQ4_NL": {"IQ4_NL", "Q5_K", "Q6_K", "Q8_0"},
}
KNOWN = [
    pytest.param(name, marks=[] if types <= set(limits_table()["limits"]) else pytest.mark.skip(f"no limit of {name}"))
    for name, types in MIXTURES.items()
]


def quantised_by_llama_cpp(folder: Path, name: str, target: Path, cache: Path) -> Path:
    """The model of `folder` as llama.cpp's own quantiser stores it in the mixture `name`."""
    plain = derive(folder, "gguf", cache=cache, dtype="f32")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    parameters.nthread = 2
    path = target / f"model-{name}.gguf"
    arguments = (str(plain.path).encode(), str(path).encode(), ctypes.byref(parameters))
    assert llama_cpp.llama_model_quantize(*arguments) == 0
    return path


@pytest.fixture(params=["tiny", "random"])
def folder(request: pytest.FixtureRequest, random_llama_folder: Path) -> Path:
    """Rows of 256, a multiple of every block, and rows of 96, for which llama.cpp takes other types."""
    return TINY if request.param == "tiny" else random_llama_folder


@pytest.mark.parametrize("name", KNOWN)
def test_every_tensor_is_decoded_and_within_its_limit(folder: Path, name: str, tmp_path: Path) -> None:
    path = quantised_by_llama_cpp(folder, name, tmp_path, tmp_path / "cache")
    with open_artifact(path, "gguf") as theirs, open_artifact(folder, "safetensors") as source:
        matrices = {n for n in theirs.tensors.names() if len(theirs.tensors.entry(n).shape) > 1}
        kinds = {theirs.tensors.entry(n).dtype for n in matrices}
        assert kinds <= MIXTURES[name]
        assert name != "Q8_0" or kinds == {"Q8_0"}
        family = source.config.architecture
        for tensor in source.tensors.names():
            if tensor in set(theirs.tensors.names()):
                error = compare_tensors(source.tensors, theirs.tensors, tensor)
                dtype = theirs.tensors.entry(tensor).dtype
                assert error.nmse <= limit_for(dtype, source.tensors.entry(tensor).dtype, family=family), tensor
                assert error.nmse > 0 or tensor not in matrices, f"{tensor}: quantised without any error"


@pytest.mark.parametrize("name", KNOWN)
def test_the_check_does_not_refute_it(folder: Path, name: str, tmp_path: Path) -> None:
    path = quantised_by_llama_cpp(folder, name, tmp_path, tmp_path / "cache")
    result = check([path], folder, "weights")
    assert [f"{one.gate}: {one.message}" for one in result.findings] == []
    assert "F-CONTRACT-I4-001" in {one["gate"] for one in result.tried}


def test_two_bits_are_not_refuted_by_their_logits(tmp_path: Path) -> None:
    """Among hundreds of positions some best token of two bits changes in spite of a large lead."""
    path = quantised_by_llama_cpp(TINY, "Q2_K", tmp_path, tmp_path / "cache")
    result = check([path], TINY, "logits")
    assert [f"{one.gate}: {one.message}" for one in result.findings] == []
    assert {"F-PARITY-001", "F-HFP-001"} <= {one["gate"] for one in result.tried}


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M"])
def test_the_check_refutes_it_with_one_head_scaled(name: str, tmp_path: Path) -> None:
    path = quantised_by_llama_cpp(TINY, name, tmp_path, tmp_path / "cache")
    scale_head("model.layers.2.self_attn.q_proj.weight", 0.975)(path)
    result = check([path], TINY, "weights")
    (finding,) = [one for one in result.findings if one.gate == "F-CONTRACT-I4-001"]
    assert finding.where == "model.layers.2.self_attn.q_proj.weight: head 1"
    assert "one head is scaled" in finding.cause


def test_the_check_refutes_it_with_one_matrix_damaged(tmp_path: Path) -> None:
    path = quantised_by_llama_cpp(TINY, "Q4_K_M", tmp_path, tmp_path / "cache")
    with open_tensor_file(path) as file:
        entry = file.entries["blk.1.ffn_up.weight"]
    data = bytearray(path.read_bytes())
    blocks = data[entry.offset : entry.offset + entry.nbytes]
    data[entry.offset : entry.offset + entry.nbytes] = blocks[len(blocks) // 2 :] + blocks[: len(blocks) // 2]
    path.write_bytes(data)
    result = check([path], TINY, "weights")
    assert "F-CONTRACT-I4-001" in {one.gate for one in result.findings}
    assert any("layers.1.mlp.up_proj" in f"{one.where} {one.message}" for one in result.findings)
