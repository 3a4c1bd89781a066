"""load_playbook: a `.playbook.yaml` file to a Playbook, or one PlaybookError that says where and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.models.family_table import FAMILY_TABLE, SIZES
from pytest_aprqa.playbooks.blocks import configured_blocks, profile_with_defaults
from pytest_aprqa.playbooks.document import Document, load_yaml
from pytest_aprqa.playbooks.errors import one_line
from pytest_aprqa.playbooks.kernel_profiles import LONG_CONTEXT_PROMPTS, kernel_profile
from pytest_aprqa.playbooks.oracle_settings import configured_oracles
from pytest_aprqa.playbooks.playbook import (
    BACKENDS,
    DEFAULT_MAX_TOKENS,
    DEFAULT_PROMPT,
    DEFAULT_SEED,
    FORMATS,
    INVARIANTS,
    MODALITIES,
    Cell,
    MatrixSection,
    ModelSection,
    Playbook,
)
from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.size_categories import billions_in_name, category_from_name, fits, fitting, range_text
from pytest_aprqa.playbooks.skips import declared_skips
from pytest_aprqa.playbooks.tiers import declared_tier
from pytest_aprqa.playbooks.validation import check

GATES = ("g1_model_loads", "g2_basic_inference", "g3_no_crashes", "g4_output_quality")
DEFAULT_FORMATS = FORMATS
DEFAULT_QUANTIZATIONS = ("q4_k_m",)
# Dimensions under their names in the table of published sizes.
_ATTRIBUTES = {
    "hidden_dim": "hidden_size",
    "num_layers": "num_layers",
    "num_heads": "num_heads",
    "num_kv_heads": "num_kv_heads",
    "vocab_size": "vocab_size",
    "intermediate_dim": "intermediate_size",
}
DIMENSIONS = ("hidden_dim", "num_layers", "num_heads", "num_kv_heads", "vocab_size", "intermediate_dim")


def load_playbook(path: Path) -> Playbook:
    """Read, validate and complete a playbook. Raises PlaybookError for every fault of the file."""
    document = load_yaml(Path(path))
    check(document)
    warnings: list[str] = []
    data = document.data
    model = _model(document, data["model"])
    matrix = _matrix(document, model, data)
    oracles = configured_oracles(document, warnings)
    policy = data.get("failure_policy")
    profile = data.get("profile_ci")
    invariants = data.get("contract_tests", {}).get("invariants", INVARIANTS)
    blocks = configured_blocks(document)
    _refuse_unknown_tier(document)
    warnings += _inconsistencies(document, matrix)
    return Playbook(
        name=data["name"],
        version=data["version"],
        description=data.get("description", ""),
        path=document.path,
        sha256=document.sha256,
        model=model,
        matrix=matrix,
        gates=dict.fromkeys(GATES, True) | data.get("gates", {}),
        oracles=oracles,
        failure_policy=None if policy is None else FailurePolicy.parse(policy),
        profile_ci=None if profile is None else profile_with_defaults(profile),
        contract_invariants=tuple(label for label in INVARIANTS if label == "I-1" or label in invariants),
        blocks=blocks,
        metadata=data.get("metadata", {}),
        warnings=tuple(warnings),
        skips=declared_skips(document.path),
    )


def _refuse_unknown_tier(document: Document) -> None:
    """`metadata` is free, but its tier decides the score that passes."""
    word = document.data.get("metadata", {}).get("tier")
    if word is None:
        return
    try:
        declared_tier(str(word))
    except ValueError as error:
        problem, _, advice = str(error).partition(". ")
        raise document.error(("metadata", "tier"), problem, advice=advice) from None


def _model(document: Document, section: dict[str, Any]) -> ModelSection:
    given = {name: section[f"expected_{name}"] for name in DIMENSIONS if f"expected_{name}" in section}
    expected = _published(document, section, given) | given
    heads, kv_heads = expected.get("num_heads"), expected.get("num_kv_heads")
    if heads and kv_heads and heads % kv_heads:
        raise document.error(
            ("model", "expected_num_kv_heads"),
            f"does not divide expected_num_heads ({heads})",
            found=str(kv_heads),
            advice="each key-value head serves the same number of heads: correct one of the two",
        )
    repo = section["hf_repo"]
    local_path = section.get("local_path")
    return ModelSection(
        hf_repo=repo,
        local_path=None if local_path is None else _beside(document, local_path),
        formats=tuple(section.get("formats", DEFAULT_FORMATS)),
        quantizations=tuple(section.get("quantizations", DEFAULT_QUANTIZATIONS)),
        size_category=_size_category(document, section),
        states_size=section.get("size_category", "auto") != "auto",
        family=section.get("family"),
        size_variant=section.get("size_variant"),
        expected=expected,
    )


def _size_category(document: Document, section: dict[str, Any]) -> str | None:
    """What the playbook states, which the size in the repository's name must allow; else what the name tells."""
    name = section["hf_repo"].partition("/")[2]
    stated = section.get("size_category", "auto")
    if stated == "auto":
        return category_from_name(name)
    billions = billions_in_name(name)
    if billions is not None and not fits(stated, billions):
        raise document.error(
            ("model", "size_category"),
            f"is {range_text(stated)}, and {name} has {billions:g} billion by its name",
            found=f"'{stated}'",
            advice=f"write {' or '.join(fitting(billions))}, or auto",
        )
    return str(stated)


def _published(document: Document, section: dict[str, Any], given: dict[str, int]) -> dict[str, int]:
    """The dimensions of `family` and `size_variant`, where they are published; they must be those that are given."""
    sizes = SIZES.get(section.get("family", ""), {})
    variant = section.get("size_variant")
    if not sizes or variant is None:
        return {}
    if variant not in sizes:
        raise document.error(
            ("model", "size_variant"),
            f"is no published size of {section['family']}",
            found=f"'{variant}'",
            advice=f"sizes: {', '.join(sizes)}",
        )
    size = sizes[variant]
    published = {name: getattr(size, attribute) for name, attribute in _ATTRIBUTES.items()}
    for name, value in given.items():
        if value != published[name]:
            raise document.error(
                ("model", f"expected_{name}"),
                f"is {published[name]} in {section['family']} {variant}",
                found=str(value),
                advice="correct it, or remove family and size_variant",
            )
    return published


def _beside(document: Document, local_path: str) -> Path:
    """A path relative to the playbook's folder, made absolute; `~` is the home folder."""
    try:
        return (document.path.parent / Path(local_path).expanduser()).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise document.error(
            ("model", "local_path"),
            f"is not a path: {error}",
            found=one_line(local_path, 80),
            advice="give a folder relative to the playbook",
        ) from None


def _matrix(document: Document, model: ModelSection, data: dict[str, Any]) -> MatrixSection:
    section = data["test_matrix"]
    matrix = MatrixSection(
        formats=model.formats,
        backends=tuple(section.get("backends", BACKENDS)),
        modalities=tuple(section.get("modalities", MODALITIES)),
        scenario_count=section.get("scenario_count", 100),
        prompts=tuple(section.get("prompts", (DEFAULT_PROMPT,))),
        seed=section.get("seed", DEFAULT_SEED),
        timeout_ms=section.get("timeout_ms"),
        max_tokens=section.get("max_tokens", DEFAULT_MAX_TOKENS),
        mvp_matrix=_cell_prompts(document, data.get("mvp_matrix", [])),
    )
    if matrix.mvp_matrix:
        _refuse_other_cells(document, matrix)
    return matrix


def _cell_prompts(document: Document, rows: list[dict[str, Any]]) -> dict[Cell, str]:
    prompts: dict[Cell, str] = {}
    for index, row in enumerate(rows):
        cell = (row["format"], row["backend"], row["modality"])
        if cell in prompts:
            raise document.error(
                ("mvp_matrix", index),
                "the cell has a row already",
                found="-".join(cell),
                advice="remove one of the two",
            )
        prompts[cell] = row["prompt"]
    return prompts


def _refuse_other_cells(document: Document, matrix: MatrixSection) -> None:
    cells = set(matrix.cells)
    for index, cell in enumerate(matrix.mvp_matrix):
        if cell not in cells:
            raise document.error(
                ("mvp_matrix", index),
                "is not a cell of the matrix",
                found="-".join(cell),
                advice="remove the row, or add its format, backend and modality",
            )
    missing = [cell for cell in matrix.cells if cell not in matrix.mvp_matrix]
    if missing:
        raise document.error(
            ("mvp_matrix",),
            f"must have a row for each of the {len(cells)} cells of the matrix",
            found=f"{len(matrix.mvp_matrix)} rows, none for {'-'.join(missing[0])}",
            advice="add the rows, or remove mvp_matrix",
        )


def _warn_of_family(data: dict[str, Any], warn: Callable[[tuple[str | int, ...], str, str], None]) -> None:
    """A family without a table cannot be checked; a kernel profile that is not its family's was not written for it."""
    family, variant = data["model"].get("family"), data["model"].get("size_variant")
    if family is None and variant is not None:
        warn(("model", "size_variant"), "says nothing without family", "give family too")
    elif family is not None and family not in FAMILY_TABLE:
        warn(("model", "family"), "is not in the table of families", f"known: {', '.join(FAMILY_TABLE)}")
    profile = data.get("kernel_profile", {})
    known = FAMILY_TABLE.get(profile.get("family", ""))
    if "family" in profile and known is None:
        warn(("kernel_profile", "family"), "is not in the table of families", f"known: {', '.join(FAMILY_TABLE)}")
    if known is None:
        return
    usual = kernel_profile(known.name)
    others = sorted(set(profile.get("kernel_ops", usual.operations)) ^ set(usual.operations))
    if others:
        warn(("kernel_profile", "kernel_ops"), f"are not those of {known.name}: {', '.join(others)}", "correct them")
    # Whether a model's context is long is its own: a family has models of both kinds.
    prompts = LONG_CONTEXT_PROMPTS & {str(prompt) for prompt in data["test_matrix"].get("prompts", ())}
    if prompts and profile.get("long_context") is False:
        problem = f"is false, but {len(prompts)} of test_matrix.prompts are for a long context"
        warn(("kernel_profile", "long_context"), problem, "correct it, or take them out")


def _inconsistencies(document: Document, matrix: MatrixSection) -> list[str]:
    """What is allowed but most likely not meant, one line each."""
    data = document.data
    warnings = []

    def warn(path: tuple[str | int, ...], problem: str, advice: str) -> None:
        warnings.append(str(document.error(path, problem, advice=advice)))

    if not matrix.mvp_matrix and matrix.size < len(matrix.prompts):
        warn(
            ("test_matrix", "prompts"),
            f"the last {len(matrix.prompts) - matrix.size} of {len(matrix.prompts)} prompts are never used",
            f"raise test_matrix.scenario_count, the matrix has {matrix.size} scenarios",
        )
    count = data.get("kernel_profile", {}).get("prompt_count")
    if count is not None and count != len(matrix.prompts):
        warn(
            ("kernel_profile", "prompt_count"),
            f"says {count}, test_matrix.prompts has {len(matrix.prompts)}",
            "correct prompt_count",
        )
    _warn_of_family(data, warn)
    used = {*matrix.prompts, *matrix.mvp_matrix.values()}
    for index, oracle in enumerate(data.get("oracles", ())):
        for prompt in oracle.get("config", {}).get("answers", {}):
            if prompt not in used:
                path = ("oracles", index, "config", "answers", prompt)
                warn(path, "is not a prompt of this playbook", "write the key exactly as the prompt")
    return warnings
