"""Rotary scaling of a derived file in real llama.cpp: beyond the first context its numbers are the model code's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.rotary_scaling import GGUF_FAMILIES
from tests.lifecycle.reshaped_families import family_folder

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
FIRST_CONTEXT, CONTEXT = 64, 256
IDS = [int(one) for one in np.random.default_rng(1).integers(5, 200, 192)]
LIMIT_S = 120.0
LIMIT = 1e-4  # nats, mean divergence; the cache of keys and values is 16-bit in llama.cpp
# Queries of random weights attend to all positions alike, whatever their rotation; the norms of Gemma 3 have one added.
SHARPER = {"gemma3_text": 1.0}
USUAL = 6.0
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": FIRST_CONTEXT}
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": FIRST_CONTEXT,
}  # fmt: skip
SCALINGS = {"linear": LINEAR, "yarn": YARN, "llama3": LLAMA3}
FAMILIES = [(family, kind) for kind, families in GGUF_FAMILIES.items() for family in families]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((family, SCALINGS[kind]) for family, kind in FAMILIES),
    ("llama", {"type": "linear", "factor": 2.5}),
    ("qwen2", YARN | {"attention_factor": 0.8}),
    ("llama", YARN | {"attention_factor": 1.4, "beta_fast": 32, "beta_slow": 1.0, "truncate": True}),
    ("llama", LLAMA3 | {"factor": 32.0, "high_freq_factor": 16.0}),
]


def sharp_folder(folder: Path, family: str, scaling: dict[str, Any]) -> Path:
    """A random model of FAMILY whose queries tell positions apart."""
    layers = {"num_hidden_layers": 7} if family == "gemma3_text" else {}
    family_folder(folder, family, max_position_embeddings=CONTEXT, rope_scaling=scaling, **layers)
    with open_tensor_file(folder) as file:
        values = {name: file.read(name) for name in file.entries}
    normed = any("q_norm" in name for name in values)
    for name in values:
        if ("q_norm" if normed else "q_proj") in name:
            values[name] = values[name] * SHARPER.get(family, USUAL)
    rows = {name: ("F32", one.shape, one.astype("<f4").tobytes()) for name, one in values.items()}
    write_safetensors(folder / "model.safetensors", rows, {"format": "pt"})
    return folder


def by_transformers(folder: Path) -> np.ndarray:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        return np.asarray(model(torch.tensor([IDS])).logits[0].numpy())


def by_llama_cpp(folder: Path, cache: Path) -> np.ndarray:
    with EngineHost("llama?backend=cpu", threads=2) as host:
        host.load(derive(folder, "gguf", cache=cache, dtype="f32"), LIMIT_S)
        return np.asarray(host.logits(IDS, LIMIT_S))


def divergence(expected: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Mean divergence in nats: of the first context, and of the positions beyond it."""
    p, q = (_log_softmax(one) for one in (expected, found))
    each = (np.exp(p) * (p - q)).sum(axis=1)
    assert float(p.std()) > 0.1, "all tokens are alike: nothing was compared"
    return float(each[:FIRST_CONTEXT].mean()), float(each[FIRST_CONTEXT:].mean())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))


def declare(folder: Path, scaling: dict[str, Any] | None) -> None:
    """Change the scaling in config.json of FOLDER."""
    path = folder / "config.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {"rope_scaling": scaling}), encoding="utf-8")


@pytest.mark.parametrize(("family", "scaling"), CASES)
def test_the_logits_beyond_the_first_context_are_those_of_transformers(
    family: str, scaling: dict[str, Any], tmp_path: Path
) -> None:
    folder = sharp_folder(tmp_path / "m", family, scaling)
    found = by_llama_cpp(folder, tmp_path / "cache")
    assert max(divergence(by_transformers(folder), found)) < LIMIT
    declare(folder, None)
    assert divergence(by_transformers(folder), found)[1] > 10 * LIMIT, "the scaling changes nothing: nothing was shown"


@pytest.mark.parametrize(
    ("family", "scaling", "wrong"),
    [
        ("llama", LINEAR, {"factor": 4.2}),
        ("qwen2", YARN, {"factor": 4.2}),
        ("qwen2", YARN, {"attention_factor": 1.0}),
        ("qwen2", YARN, {"original_max_position_embeddings": 32}),
        ("llama", YARN, {"beta_slow": 0.1}),
        ("llama", LLAMA3, {"factor": 7.0}),
        ("llama", LLAMA3, {"high_freq_factor": 5.0}),
    ],
)
def test_another_declaration_is_seen(
    family: str, scaling: dict[str, Any], wrong: dict[str, Any], tmp_path: Path
) -> None:
    folder = sharp_folder(tmp_path / "m", family, scaling)
    found = by_llama_cpp(folder, tmp_path / "cache")
    declare(folder, scaling | wrong)
    assert divergence(by_transformers(folder), found)[1] > LIMIT
