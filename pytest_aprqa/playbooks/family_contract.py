"""A model family as another project's contract YAML describes it: sizes with dimensions, and the constraints.

Read with care: such files quote booleans and have null values, and both are accepted (playbook.md section 9.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.models.family_table import FAMILY_TABLE, Family
from pytest_aprqa.playbooks.document import Document, load_yaml
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.validation import BOOLEAN_WORDS

# Name in the contract -> name after `expected_` in a playbook.
DIMENSIONS = ("hidden_dim", "num_layers", "num_heads", "num_kv_heads", "vocab_size", "intermediate_dim")
LARGEST = 1 << 31
_WORDS = {
    "attention": ("attention", "attention_type"),
    "norm": ("norm", "norm_type"),
    "activation": ("activation", "act"),
    "mlp": ("mlp", "mlp_type"),
    "position": ("position", "positional_encoding", "position_encoding"),
}
_NORMS = {"rmsnorm": "rms", "layernorm": "layer"}


@dataclass(frozen=True, slots=True)
class FamilyContract:
    """One contract. `sizes`: name -> numbers as the contract names them; `family` for the profile of prompts."""

    path: Path
    family: Family
    sizes: dict[str, dict[str, int]]
    vendor: str


def read_contract(path: Path) -> FamilyContract:
    """Read FAMILY.yaml. PlaybookError: not readable, no `size_variants`, a dimension that is no count."""
    if not path.exists():
        raise PlaybookError(path, "no such contract", advice="name the contract of the family, or its folder")
    document = load_yaml(path)
    data = document.data
    if not isinstance(data, dict) or not isinstance(data.get("size_variants"), dict) or not data["size_variants"]:
        raise document.error(
            ("size_variants",), "is missing: this is no contract of a model family", advice="name one with sizes"
        )
    sizes = {str(name): _numbers(document, str(name), block) for name, block in data["size_variants"].items()}
    name = str(data.get("family") or path.stem)
    vendor = data.get("vendor")
    return FamilyContract(path, _family(document, name, sizes), sizes, vendor if isinstance(vendor, str) else "")


def _numbers(document: Document, size: str, block: Any) -> dict[str, int]:
    if not isinstance(block, dict):
        raise document.error(("size_variants", size), "must be a mapping of dimensions", advice="write key: number")
    found = {}
    for name in (*DIMENSIONS, "max_position_embeddings"):
        value = block.get(name)
        if value is None:
            continue
        if isinstance(value, str) and value.isdecimal() and len(value) < 12:
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < LARGEST:
            raise document.error(
                ("size_variants", size, name), "is not a count", found=repr(value), advice="give a whole number above 0"
            )
        found[name] = value
    return found


def _family(document: Document, name: str, sizes: dict[str, dict[str, int]]) -> Family:
    """Constraints of the contract; what it leaves out is as in the built-in table, or the most common word."""
    constraints = document.data.get("constraints") or {}
    if not isinstance(constraints, dict):
        raise document.error(("constraints",), "must be a mapping", advice="write attention: gqa and so on")
    known = FAMILY_TABLE.get(name, FAMILY_TABLE["llama"])
    words: dict[str, str] = {}
    for field, keys in _WORDS.items():
        text = next((str(constraints[key]).lower() for key in keys if constraints.get(key)), None)
        words[field] = getattr(known, field) if text is None else _NORMS.get(text, text)
    positions = sorted(
        {block["max_position_embeddings"] for block in sizes.values() if "max_position_embeddings" in block}
    )
    return Family(
        name,
        attention=words["attention"],
        norm=words["norm"],
        activation=words["activation"],
        mlp=words["mlp"],
        position=words["position"],
        positions=tuple(positions) or known.positions,
        bias=_flag(document, constraints, "has_bias", known.bias),
        tied=_flag(document, constraints, "tied_embeddings", known.tied),
    )


def _flag(document: Document, constraints: dict[str, Any], name: str, default: bool) -> bool:
    value = constraints.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        value = BOOLEAN_WORDS.get(value.strip().lower(), value)
    if not isinstance(value, bool):
        raise document.error(
            ("constraints", name), "must be true or false", found=repr(value), advice="write one of them"
        )
    return value
