"""Our encoders against llama.cpp's quantiser on the same tensors, our decoders against its own, our files in it."""

from __future__ import annotations

import ctypes
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_aprqa.engine_contract import LIMIT_S
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.formats.block_encoders import ENCODERS
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.codecs import DECODABLE, QUANTISED, decode, encode
from pytest_aprqa.formats.gguf_types import TENSOR_TYPE_IDS
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact
from tests.formats.outlier_tensors import ROUNDING, outlier_tensors
from tests.formats.test_encoders import tensors

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama

REPOSITORY = Path(__file__).parents[2]
TINY = REPOSITORY / "models" / "tiny-qwen2"
DATA = json.loads((REPOSITORY / "tests" / "data" / "llama_cpp_quantiser_nmse.json").read_text())
RECORDED, OUTLIERS = DATA["nmse"], DATA["outliers"]
TYPES = sorted(ENCODERS)
DECODED = sorted(DECODABLE & QUANTISED & set(TENSOR_TYPE_IDS))
PROMPTS = ["What is 2+2?", "def fibonacci(n):\n    return", "I'm fine, café 12345", "a   b\n\n你好 🙂"]


@pytest.fixture(scope="module")
def ggml() -> ctypes.CDLL:
    folder = Path(importlib.import_module("llama_cpp").__file__ or "").parent / "lib"
    library = ctypes.CDLL(str(next(folder.glob("libggml-base*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    wide = [ctypes.c_int64] * 3
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *wide, ctypes.c_void_p]
    library.ggml_type_size.restype = ctypes.c_size_t
    library.ggml_blck_size.restype = ctypes.c_int64
    return library


def quantised_by_llama_cpp(ggml: ctypes.CDLL, dtype: str, values: NDArray[np.float32]) -> NDArray[np.uint8]:
    width, size = BLOCKS[dtype]
    values = np.ascontiguousarray(values, np.float32)
    raw = np.empty(values.size // width * size, np.uint8)
    rows, columns = values.shape
    kind = TENSOR_TYPE_IDS[dtype]
    assert ggml.ggml_quantize_chunk(kind, values.ctypes.data, raw.ctypes.data, 0, rows, columns, None) == raw.size
    return raw


def nmse(dtype: str, raw: Any, values: NDArray[np.float32]) -> float:
    wide = values.astype(np.float64)
    back = decode(dtype, np.frombuffer(raw, np.uint8), values.shape)
    return float(((back - wide) ** 2).sum() / (wide**2).sum())


@pytest.mark.parametrize("dtype", TYPES)
def test_error_is_no_larger_than_llama_cpps_on_many_distributions(ggml: ctypes.CDLL, dtype: str) -> None:
    for name, values in tensors().items():
        theirs = nmse(dtype, quantised_by_llama_cpp(ggml, dtype, values), values)
        assert nmse(dtype, encode(dtype, values), values) <= theirs, name
        if dtype in RECORDED:
            assert RECORDED[dtype][name] == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("dtype", TYPES)
def test_error_is_no_larger_than_llama_cpps_on_outliers(ggml: ctypes.CDLL, dtype: str) -> None:
    for name, values in outlier_tensors().items():
        theirs = nmse(dtype, quantised_by_llama_cpp(ggml, dtype, values), values)
        assert nmse(dtype, encode(dtype, values), values) <= theirs + ROUNDING, name
        assert OUTLIERS[dtype][name] == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("dtype", TYPES)
def test_error_is_no_larger_than_llama_cpps_on_every_tensor_of_a_trained_model(ggml: ctypes.CDLL, dtype: str) -> None:
    compared = 0
    with open_tensor_file(TINY) as file:
        for entry in file.entries.values():
            if len(entry.shape) == 2:
                values = file.read(entry.name)
                theirs = nmse(dtype, quantised_by_llama_cpp(ggml, dtype, values), values)
                assert nmse(dtype, encode(dtype, values), values) <= theirs, entry.name
                compared += 1
    assert compared > 20


def test_q8_0_has_llama_cpps_bytes(ggml: ctypes.CDLL) -> None:
    for name, values in tensors().items():
        assert encode("Q8_0", values) == quantised_by_llama_cpp(ggml, "Q8_0", values).tobytes(), name


@pytest.mark.parametrize("dtype", sorted(QUANTISED & set(TENSOR_TYPE_IDS)))
def test_block_sizes_are_ggmls(ggml: ctypes.CDLL, dtype: str) -> None:
    kind = TENSOR_TYPE_IDS[dtype]
    assert BLOCKS[dtype] == (ggml.ggml_blck_size(kind), ggml.ggml_type_size(kind))


@pytest.mark.parametrize("dtype", DECODED)
def test_decoders_agree_with_ggmls_own(ggml: ctypes.CDLL, dtype: str) -> None:
    """Within one rounding: the compiled code may fuse a multiplication and an addition."""
    width, size = BLOCKS[dtype]
    raw = np.random.default_rng(6).integers(0, 256, (500, size), np.uint8)
    ends = {"Q2_K": [81, 83], "Q3_K": [109], "Q6_K": [209], "TQ1_0": [53], "TQ2_0": [65], "Q8_K": [3]}
    pairs = {"Q4_1": [1, 3], "Q5_1": [1, 3], "Q4_K": [1, 3], "Q5_K": [1, 3], "MXFP4": []}
    raw[:, ends.get(dtype, pairs.get(dtype, [1]))] &= 0xBB  # finite scales
    if dtype == "MXFP4":
        raw[:, 0] = np.minimum(raw[:, 0], 250)
    theirs = np.empty(500 * width, np.float32)
    name = "dequantize_row_" + dtype.lower().replace("_k", "_K")
    decoder = getattr(ggml, name)
    decoder.argtypes, decoder.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    decoder(raw.ctypes.data, theirs.ctypes.data, theirs.size)
    ours = decode(dtype, raw.reshape(-1), (500, width))
    theirs = theirs.reshape(ours.shape)
    scale = np.abs(ours).max(axis=1, keepdims=True)
    assert (np.abs(ours - theirs) <= 2.0**-22 * scale).all()


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[Artifact, str], EngineHost]]:
    hosts: list[EngineHost] = []

    def start(artifact: Artifact, engine: str) -> EngineHost:
        hosts.append(EngineHost(engine, threads=2))
        hosts[-1].load(artifact, LIMIT_S)
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


#: Mean divergence in nats that llama.cpp's 8-bit activations and 16-bit cache may add to the same weights in torch.
@pytest.mark.parametrize(
    ("dtype", "limit"),
    [("f16", 1e-3), ("bf16", 1e-3), *((name, 2e-3) for name in ("q8_0", "q6_k", "q5_k", "q4_k", "q4_0"))],
)
def test_llama_cpp_runs_our_files_as_torch_does(
    load: Callable[[Artifact, str], EngineHost], dtype: str, limit: float, tmp_path: Path
) -> None:
    artifact = derive(TINY, "gguf", cache=tmp_path, dtype=dtype)
    with open_tensor_file(artifact.path) as file:
        kinds = {entry.dtype for entry in file.entries.values() if len(entry.shape) > 1}
    assert kinds == {dtype.upper()}
    theirs, ours = load(artifact, "llama?backend=cpu"), load(artifact, "torch")
    requests = [
        GenerationRequest(f"{mode} {n}", prompt, mode, max_new_tokens=12)
        for mode in ("raw", "chat")
        for n, prompt in enumerate(PROMPTS)
    ]
    answers = list(zip(theirs.generate(requests, LIMIT_S), ours.generate(requests, LIMIT_S), strict=True))
    assert [one.prompt_ids for one, _ in answers] == [other.prompt_ids for _, other in answers]
    assert answers[4][0].new_ids == answers[4][1].new_ids, "a trained answer"
    assert sum(one.new_ids == other.new_ids for one, other in answers) >= len(answers) - 2
    ids = answers[4][0].prompt_ids + answers[4][0].new_ids
    mine, found = (_log_softmax(host.logits(ids, LIMIT_S)) for host in (ours, theirs))
    assert float((np.exp(mine) * (mine - found)).sum(axis=1).mean()) < limit


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=1, keepdims=True)))
