"""What is known of published models: the fact tables from which playbooks are written, and families by model id."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.playbooks.errors import PlaybookError

# Family of the registry -> family of the table of constraints. Distilled models are of their base's family.
_FAMILIES = {
    "qwen-coder": "qwen2", "qwen": "qwen2", "qwen3": "qwen3", "qwen3-moe": "qwen3_moe", "qwen3-coder-moe": "qwen3_moe",
    "llama": "llama", "codellama": "llama", "tinyllama": "llama", "smollm": "llama", "yi": "llama", "vicuna": "llama",
    "deepseek-coder": "llama", "wizardcoder": "llama", "hermes": "llama", "nemotron": "nemotron",
    "mistral": "mistral", "mistral-code": "mistral", "openchat": "mistral", "openhermes": "mistral",
    "zephyr": "mistral", "dolphin": "mistral",
    "gemma": "gemma", "gemma2": "gemma", "gemma3": "gemma", "codegemma": "gemma",
    "phi": "phi", "phi4": "phi", "deepseek-coder-v2": "deepseek", "falcon": "falcon", "starcoder2": "starcoder2",
    "stablelm": "stablelm", "granite": "granite", "granite-code": "granite", "internlm": "internlm2", "olmo": "olmo",
}  # fmt: skip


def family_constraints(family: str) -> str | None:
    """Key of the table of constraints for a family of the registry, None for one that it does not know."""
    return _FAMILIES.get(family)


def known_families() -> list[str]:
    """Families of the registry that have constraints."""
    return list(_FAMILIES)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One row of models.csv."""

    model_id: str
    family: str
    parameters: str
    size_category: str

    @property
    def constraints(self) -> str | None:
        """Key of the table of family constraints; None for a family that it does not know."""
        if self.family == "deepseek-r1":
            return "qwen2" if "qwen" in self.model_id.lower() else "llama" if "llama" in self.model_id.lower() else None
        return _FAMILIES.get(self.family)


@dataclass(frozen=True, slots=True)
class PlaybookFacts:
    """One row of playbooks.csv: matrix and published dimensions (empty where none are stated)."""

    file: str
    hf_repo: str
    size_category: str
    formats: tuple[str, ...]
    quantizations: tuple[str, ...]
    modalities: tuple[str, ...]
    backends: tuple[str, ...]
    scenario_count: int
    timeout_ms: int | None
    size_variant: str
    dimensions: Mapping[str, int]

    @property
    def stem(self) -> str:
        """File name without its ending."""
        return self.file.removesuffix(".playbook.yaml")


_DIMENSIONS = {
    "hidden_dim": "hidden",
    "num_layers": "layers",
    "num_heads": "heads",
    "num_kv_heads": "kv_heads",
    "vocab_size": "vocab",
    "intermediate_dim": "intermediate",
}


def read_models(path: Path) -> dict[str, ModelFacts]:
    """Rows by model id, in file order. PlaybookError names what cannot be read."""
    columns = tuple(ModelFacts.__dataclass_fields__)
    return {row["model_id"]: ModelFacts(**{name: row[name] for name in columns}) for row in _rows(path, columns)}


def read_playbook_facts(path: Path) -> list[PlaybookFacts]:
    """Rows in file order. PlaybookError names what cannot be read."""
    columns = ("file", "hf_repo", "size_category", "formats", "modalities", "backends", "scenario_count")
    found = []
    for number, row in enumerate(_rows(path, columns), start=2):
        try:
            found.append(_facts(row))
        except (KeyError, ValueError) as error:
            raise PlaybookError(path, f"a field is wrong: {error}", line=number, column=1) from None
    return found


def _facts(row: Mapping[str, str]) -> PlaybookFacts:
    return PlaybookFacts(
        file=row["file"],
        hf_repo=row["hf_repo"],
        size_category=row["size_category"],
        formats=tuple(row["formats"].split()),
        quantizations=tuple(row["quantizations"].split()),
        modalities=tuple(row["modalities"].split()),
        backends=tuple(row["backends"].split()),
        scenario_count=int(row["scenario_count"]),
        timeout_ms=int(row["timeout_ms"]) if row["timeout_ms"] else None,
        size_variant=row["size_variant"],
        dimensions={name: int(row[column]) for name, column in _DIMENSIONS.items() if row[column]},
    )


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise PlaybookError(path, f"cannot be read: {error}", advice="it is a table of facts, in CSV") from None
    if missing:
        raise PlaybookError(path, f"has no column {', '.join(missing)}", line=1, column=1)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise PlaybookError(path, "a row has not the fields of the header", line=number, column=1)
    return rows
