"""A loaded playbook as frozen data: what the plugin and the checks read. Made by loading.load_playbook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.skips import DeclaredSkip
from pytest_aprqa.playbooks.tiers import declared_tier

FORMATS = ("gguf", "safetensors", "apr")
MODALITIES = ("run", "chat", "serve")
BACKENDS = ("cpu", "gpu")
INVARIANTS = ("I-1", "I-2", "I-3", "I-4", "I-5")
DEFAULT_PROMPT = "What is 2+2?"
DEFAULT_SEED = 42
DEFAULT_MAX_TOKENS = 32

Cell = tuple[str, str, str]  # format, backend, modality


@dataclass(frozen=True, slots=True)
class ModelSection:
    """The `model` block. `expected` has the dimensions given, without `expected_`: `{"hidden_dim": 256}`."""

    hf_repo: str
    local_path: Path | None  # absolute
    formats: tuple[str, ...]
    quantizations: tuple[str, ...]
    size_category: str | None  # None: neither given nor readable from the repository's name
    family: str | None
    size_variant: str | None
    expected: Mapping[str, int]
    states_size: bool = False  # size_category is the playbook's own word, not derived: the model is held to it

    @property
    def organisation(self) -> str:
        """The part of `hf_repo` before the slash."""
        return self.hf_repo.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of `hf_repo` after the slash."""
        return self.hf_repo.partition("/")[2]


@dataclass(frozen=True, slots=True)
class MatrixSection:
    """The `test_matrix` block. `mvp_matrix` maps a cell to the prompt that replaces `prompts` there; usually empty."""

    formats: tuple[str, ...]
    backends: tuple[str, ...]
    modalities: tuple[str, ...]
    scenario_count: int
    prompts: tuple[str, ...]
    seed: int
    timeout_ms: int | None
    max_tokens: int
    mvp_matrix: Mapping[Cell, str]

    @property
    def cells(self) -> list[Cell]:
        """Cells in the order of execution: modality, then backend, then format."""
        return [(f, b, m) for m in self.modalities for b in self.backends for f in self.formats]

    @property
    def size(self) -> int:
        """Number of scenarios."""
        return len(self.formats) * len(self.backends) * len(self.modalities) * self.scenario_count


@dataclass(frozen=True, eq=False)
class Playbook:
    """One playbook. Two loads are two objects: compare `sha256` (of the file's bytes) where content counts."""

    name: str
    version: str
    description: str
    path: Path
    sha256: str
    model: ModelSection
    matrix: MatrixSection
    gates: Mapping[str, bool]
    oracles: tuple[Mapping[str, Any], ...]
    failure_policy: FailurePolicy | None
    profile_ci: Mapping[str, Any] | None
    contract_invariants: tuple[str, ...]
    blocks: Mapping[str, Any]  # configured blocks that no field above holds, by key path; switched-off ones left out
    metadata: Mapping[str, Any]
    warnings: tuple[str, ...]  # one line each: unknown keys, prompts that no scenario uses, ...
    skips: tuple[DeclaredSkip, ...] = ()  # of the skip file beside the playbook

    @property
    def tier(self) -> str | None:
        """The tier that `metadata.tier` declares, by its name in the table of tiers; None where it declares none."""
        word = self.metadata.get("tier")
        return None if word is None else declared_tier(str(word)).name

    @property
    def implicit_skips(self) -> list[str]:
        """Formats that neither the playbook tests nor its skip file names."""
        declared = {skip.part for skip in self.skips}
        return [name for name in FORMATS if name not in self.matrix.formats and name not in declared]

    @property
    def absent_parts(self) -> list[DeclaredSkip]:
        """Declared skips of formats and backends that are no part of the matrix."""
        return [skip for skip in self.skips if skip.part not in (*self.matrix.formats, *self.matrix.backends)]

    @property
    def stem(self) -> str:
        """File name without `.playbook.yaml`: the key of lock files and reports."""
        return self.path.name.split(".playbook.")[0].removesuffix(".yaml").removesuffix(".yml")
