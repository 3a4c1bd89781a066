"""Texts that people write: playbooks and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_aprqa.layout_contract import load_contract
from pytest_aprqa.playbooks.facts import read_models, read_playbook_facts
from pytest_aprqa.playbooks.family_contract import read_contract
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.lock import lock_text, read_lock
from pytest_aprqa.playbooks.skips import declared_skips
from pytest_aprqa.playbooks.verification import load_verification
from tests.fuzz import mutations
from tests.fuzz.target import Seeds, Target

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
PLAYBOOK = """\
name: tiny
version: "1.0.0"
model:
  hf_repo: example/Tiny-1B
  local_path: models/tiny
  formats: [safetensors, gguf]
  quantizations: [q4_k_m]
  expected_num_heads: 4
  expected_num_kv_heads: 2
test_matrix:
  modalities: [run, chat]
  backends: [cpu]
  scenario_count: 4
  seed: 42
  prompts: ["What is 2+2?", "Say hello."]
gates:
  g1_model_loads: true
oracles:
  - type: arithmetic
failure_policy: collect_all
metadata:
  tier: smoke
"""
CONTRACT = """\
family: llama
vendor: Example
size_variants:
  1b:
    hidden_dim: 2048
    num_layers: 16
    num_heads: 32
    vocab_size: "32000"
constraints:
  attention: gqa
  has_bias: false
  tied_embeddings: "true"
tensors:
  embedding:
    apr_name: model.embed_tokens.weight
    apr_shape: [vocab, hidden]
  output:
    apr_name: "layers.{n}.o.weight"
    apr_shape: "[hidden, heads*head_dim]"
"""
SKIPS = """\
- format_or_backend: gguf
  reason: no file of it is published
- format_or_backend: gpu
  reason: none here
  tracking_issue: "12"
"""


def lines_of(*texts: str | Path) -> Callable[[], Seeds]:
    """Texts, or files of them, as seeds that are damaged line by line."""

    def seeds() -> Seeds:
        files = [text.read_bytes() if isinstance(text, Path) else text.encode() for text in texts]
        return {f"text {number}": (data, mutations.lines) for number, data in enumerate(files)}

    return seeds


def tables_of(*paths: Path) -> Callable[[], Seeds]:
    """The first rows of CSV files as seeds."""

    def seeds() -> Seeds:
        return {path.name: (b"".join(path.read_bytes().splitlines(True)[:4]), mutations.table) for path in paths}

    return seeds


def _read(read: Callable[[Path], object]) -> Callable[[Path], None]:
    def reader(path: Path) -> None:
        read(path)

    return reader


def _read_skips(path: Path) -> None:
    declared_skips(path.with_name("x.playbook.yaml"))


_BESIDE = [PLAYBOOKS / "verify" / "TICKET-902.yaml", PLAYBOOKS / "verify" / "fail-fast-falsification.yaml"]
_BESIDE += [PLAYBOOKS / "spec" / "gateway-g2-basic-inference.yaml"]
_LOCK = lock_text({"a": "0" * 64, "b": "1" * 64})
_LARGE = PLAYBOOKS / "models" / "qwen-coder-mvp.playbook.yaml"

DOCUMENT_TARGETS = {
    "lock": Target("playbook.lock.yaml", lines_of(_LOCK), _read(read_lock)),
    "skips": Target("x.skip.yaml", lines_of(SKIPS), _read_skips),
    "contract": Target("llama.yaml", lines_of(CONTRACT), _read(read_contract)),
    "layout": Target("layout.yaml", lines_of(CONTRACT), _read(load_contract)),
    "models": Target("models.csv", tables_of(PLAYBOOKS / "facts" / "models.csv"), _read(read_models)),
    "facts": Target("playbooks.csv", tables_of(PLAYBOOKS / "facts" / "playbooks.csv"), _read(read_playbook_facts)),
    "verification": Target("verify.yaml", lines_of(*_BESIDE), _read(load_verification)),
    "playbook": Target("x.playbook.yaml", lines_of(*[PLAYBOOK] * 7, _LARGE), _read(load_playbook)),
}
