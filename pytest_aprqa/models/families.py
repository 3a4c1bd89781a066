"""Tensor template, layout contract and integrity of the supported families (playbook.md 9.4, gates.md 3.4, 3.5, 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_aprqa.formats.name_tables import ARCHITECTURE_OF
from pytest_aprqa.models.config import ModelConfig
from pytest_aprqa.models.family_templates import EMBEDDING as EMBEDDING
from pytest_aprqa.models.family_templates import HEAD as HEAD
from pytest_aprqa.models.family_templates import Shape, template_tensors

# Families that the torch engine runs; family_templates.KNOWN are those whose tensors are known.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
# Where the dimensions of the embedding are read, first name first (gates.md 3.5).
EMBEDDINGS = (
    EMBEDDING, "embed_tokens.weight", "transformer.wte.weight", "wte.weight", HEAD, "model.lm_head.weight",
    "transformer.word_embeddings.weight", "model.tok_embeddings.weight", "gpt_neox.embed_in.weight",
)  # fmt: skip
NORM = "model.norm.weight"
HEADS = (HEAD, "output.weight", "embed_out.weight")  # the second of InternLM2, the third of GPT-NeoX
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blk)\.(\d{1,6})(?:\.|$)")
LARGEST_REPORT = 1000  # contradictions; a hostile layer number makes no more
# GGUF files name the architecture whose code runs them: llama.cpp runs these families under another name.
RUN_AS = {"gguf": ARCHITECTURE_OF}


@dataclass(frozen=True, slots=True)
class LayoutProblem:
    """One violated rule of LAYOUT-002."""

    rule: str
    severity: str
    tensor: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


def same_architecture(declared: str, source: str, format_name: str) -> bool:
    """True when a file of `format_name` rightly declares `declared` for a source of architecture `source`."""
    return declared in (source, RUN_AS.get(format_name, {}).get(source))


def expected_tensors(config: ModelConfig) -> dict[str, Shape]:
    """Name -> row-major shape of every tensor of the family; the head is left out when it is tied. ModelError."""
    return template_tensors(config)


def layout_problems(config: ModelConfig, shapes: Mapping[str, Shape]) -> list[LayoutProblem]:
    """Tensors whose shape is not the one of their role. Only tensors that exist are looked at."""
    expected = dict(expected_tensors(config))
    expected.setdefault(HEAD, next(expected[name] for name in EMBEDDINGS if name in expected))
    problems = []
    for name, wanted in expected.items():
        found = shapes.get(name)
        if found is None or found == wanted:
            continue
        transposed = " (transposed)" if found == wanted[::-1] and len(wanted) == 2 else ""
        if name in HEADS:
            text = f"{name} shape MISMATCH (GH-202 bug pattern): expected {list(wanted)}, got {list(found)}{transposed}"
            problems.append(LayoutProblem("F-LAYOUT-CONTRACT-002", "P0", name, text))
            continue
        rule, severity = ("F-LAYOUT-CONTRACT-001", "P0") if len(wanted) == 2 else ("F-LAYOUT-CONTRACT-003", "P1")
        text = f"{name} shape mismatch: expected {list(wanted)}, got {list(found)}{transposed}"
        problems.append(LayoutProblem(rule, severity, name, text))
    return problems


def integrity_problems(config: ModelConfig, shapes: Mapping[str, Shape]) -> list[str]:
    """Contradictions between declaration and tensors, in the words of gates.md 3.5; empty when there is none."""
    problems = []
    layers = {int(m[1]) for name in shapes if (m := _LAYER.search(name))}
    if layers and max(layers) + 1 != config.num_layers:
        problems.append(
            f"G0-INTEGRITY-LAYERS: config says {config.num_layers} layers but tensors have {max(layers) + 1}"
        )
    embedding = next((shapes[name] for name in EMBEDDINGS if name in shapes), ())
    if len(embedding) >= 2:
        if embedding[1] != config.hidden_size:
            problems.append(
                f"G0-INTEGRITY-HIDDEN: config says hidden_size={config.hidden_size} but embedding has {embedding[1]}"
            )
        if embedding[0] != config.vocab_size:
            problems.append(
                f"G0-INTEGRITY-VOCAB: config says vocab_size={config.vocab_size} but embedding has {embedding[0]}"
            )
    problems += _head_problems(config, shapes)
    roles: dict[int, set[str]] = {}
    for name in shapes:
        if m := _LAYER.search(name):
            roles.setdefault(int(m[1]), set()).add(name[m.end() :])
    if roles:
        # The first layers of a model of experts may have other tensors than the rest.
        first = {layer for layer in roles if layer < config.dense_layers}
        usual = [set().union(*(roles[n] for n in kind)) for kind in (roles.keys() - first, first)]
        for layer in range(min(max(roles) + 1, LARGEST_REPORT)):
            if layer not in roles:
                problems.append(f"G0-INTEGRITY-LAYERS: layer {layer} has no tensors")
            elif missing := sorted(usual[layer in first] - roles[layer]):
                problems.append(f"G0-INTEGRITY-LAYERS: layer {layer} lacks {', '.join(missing[:3])} that others have")
    return problems[:LARGEST_REPORT]


def _head_problems(config: ModelConfig, shapes: Mapping[str, Shape]) -> list[str]:
    problems = []
    if config.num_heads % config.num_kv_heads:
        problems.append(
            f"G0-INTEGRITY-HEADS: config says {config.num_heads} heads,"
            f" which is no multiple of {config.num_kv_heads} key-value heads"
        )
    for role, heads in (("q", config.num_heads), ("k", config.num_kv_heads)):
        found = shapes.get(f"model.layers.0.self_attn.{role}_proj.weight")
        rows = heads * config.head_dim
        if found is not None and len(found) == 2 and found[0] != rows and found != (config.hidden_size, rows):
            problems.append(
                f"G0-INTEGRITY-HEADS: config says {heads} heads of {config.head_dim}"
                f" but {role}_proj has {found[0]} rows"
            )
    return problems
