"""The scenario matrix of a playbook, expanded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pytest_aprqa.playbooks.playbook import Cell, Playbook

# Matrix category of a cell, the middle of the gate id F-{category}-001.
CATEGORIES = {
    ("run", "cpu"): "A1",
    ("run", "gpu"): "A2",
    ("chat", "cpu"): "A3",
    ("chat", "gpu"): "A4",
    ("serve", "cpu"): "A5",
    ("serve", "gpu"): "A6",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One request of the matrix. `index` counts within the cell; the counter in `scenario_id` within the playbook."""

    key: str  # gguf-cpu-chat-p03: unique in the playbook, part of the node id
    format: str
    backend: str
    modality: str
    index: int
    prompt: str
    seed: int  # of the sampler: test_matrix.seed + counter
    scenario_id: str  # {model}_{modality}_{backend}_{format}_{counter, 16 hex digits}
    category: str  # A1 to A6
    max_tokens: int = 32
    temperature: float = 0.0


def expand(playbook: Playbook) -> list[Scenario]:
    """All scenarios: modality, backend, format, index, outermost first.

    Prompts repeat within a cell; where a cell has fewer scenarios than there are prompts, the next cell goes on where
    this one stopped, so that every prompt is used if the matrix is large enough. `mvp_matrix` overrules both.
    """
    return list(_expanded(playbook))


@lru_cache(maxsize=32)
def _expanded(playbook: Playbook) -> tuple[Scenario, ...]:
    matrix, name = playbook.matrix, playbook.model.name
    count = matrix.scenario_count
    width = max(2, len(str(count - 1)))
    scenarios = []
    for number, cell in enumerate(matrix.cells):
        format_name, backend, modality = cell
        category = CATEGORIES[modality, backend]
        for index in range(count):
            counter = number * count + index
            scenarios.append(
                Scenario(
                    key=f"{format_name}-{backend}-{modality}-p{index:0{width}d}",
                    format=format_name,
                    backend=backend,
                    modality=modality,
                    index=index,
                    prompt=_prompt(playbook, cell, number, index),
                    seed=matrix.seed + counter,
                    scenario_id=f"{name}_{modality}_{backend}_{format_name}_{counter:016x}",
                    category=category,
                    max_tokens=matrix.max_tokens,
                )
            )
    return tuple(scenarios)


def _prompt(playbook: Playbook, cell: Cell, number: int, index: int) -> str:
    matrix = playbook.matrix
    if matrix.mvp_matrix:
        return matrix.mvp_matrix[cell]
    if matrix.scenario_count < len(matrix.prompts):
        index += number * matrix.scenario_count
    return matrix.prompts[index % len(matrix.prompts)]
