"""A first playbook of a model: matrix of the tier, prompts of its family, dimensions of its config.json or contract.

Rules: playbook.md section 9.5. The text is written by the generator, as that of the packaged playbooks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.family_table import FAMILY_TABLE, SIZES, Family, size_of
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.facts import ModelFacts, PlaybookFacts, family_constraints, known_families
from pytest_aprqa.playbooks.family_contract import DIMENSIONS, read_contract
from pytest_aprqa.playbooks.generator import Wishes, playbook_text
from pytest_aprqa.playbooks.kernel_profiles import profile_of
from pytest_aprqa.playbooks.lookup import SUFFIX
from pytest_aprqa.playbooks.size_categories import billions_in_name, category_of
from pytest_aprqa.playbooks.tiers import Tier

ALL_FORMATS = ("safetensors", "apr", "gguf")
# Least tokens/s and most ms of the 99th percentile, by size (playbook.md 9.5).
LIMITS = {"tiny": (50, 200), "small": (30, 500), "medium": (15, 1000), "large": (5, 3000), "xlarge": (2, 5000)}
LIMITS_ELSE = (1, 10_000)
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,60}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]+/(?!\.+$)[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a model. `dimensions` by their names after `expected_`; empty where nothing states them."""

    family: Family
    source: str
    dimensions: Mapping[str, int] = field(default_factory=dict)
    max_positions: int | None = None


def shape_from_config(place: Path, family: str, size: str) -> Shape:
    """The shape that config.json in PLACE (the file, or its folder) declares.

    ModelError: no such file, a field missing or wrong. PlaybookError: it declares another family or another size.
    """
    if place.is_file() and place.name != "config.json":
        raise PlaybookError(place, "is not called config.json", advice="name config.json of the model, or its folder")
    config = config_from_hf(place.parent if place.name == "config.json" else place)
    constraints = _constraints(family)
    if config.architecture in FAMILY_TABLE and config.architecture != constraints.name:
        raise PlaybookError(
            place, f"is of the family {config.architecture}, not {family}", advice=f"bootstrap {config.architecture}"
        )
    published = size_of(config)
    if published is not None and published != size:
        raise PlaybookError(place, f"has the dimensions of size {published}, not {size}", advice=f"name {published}")
    return Shape(constraints, str(place), _dimensions(config), config.max_position_embeddings)


def _dimensions(config: ModelConfig) -> dict[str, int]:
    values = (
        config.hidden_size, config.num_layers, config.num_heads, config.num_kv_heads, config.vocab_size,
        config.intermediate_size,
    )  # fmt: skip
    return dict(zip(DIMENSIONS, values, strict=True))


def shape_from_contract(folder: Path, family: str, size: str) -> Shape:
    """The shape in FOLDER/FAMILY.yaml (FOLDER may be the file). PlaybookError: no such file or size; a wrong one."""
    path = folder if folder.is_file() else folder / f"{family}.yaml"
    if not path.is_file() and (folder / f"{_key(family)}.yaml").is_file():
        path = folder / f"{_key(family)}.yaml"
    contract = read_contract(path)
    numbers = contract.sizes.get(size)
    if numbers is None:
        raise _no_size(path, family, size, list(contract.sizes))
    dimensions = {name: numbers[name] for name in DIMENSIONS if name in numbers}
    return Shape(contract.family, str(path), dimensions, numbers.get("max_position_embeddings"))


def shape_from_table(family: str, size: str) -> Shape:
    """The shape in the built-in table of families; without dimensions where the table has no sizes of the family."""
    constraints = _constraints(family)
    sizes = SIZES.get(constraints.name, {})
    if sizes and size not in sizes:
        raise _no_size("built-in table", family, size, list(sizes))
    if not sizes:
        return Shape(constraints, f"built-in table, which has no sizes of {family}")
    one = sizes[size]
    values = (
        one.hidden_size, one.num_layers, one.num_heads, one.num_kv_heads, one.vocab_size, one.intermediate_size,
    )  # fmt: skip
    return Shape(constraints, "built-in table", dict(zip(DIMENSIONS, values, strict=True)))


def _no_size(place: str | Path, family: str, size: str, sizes: list[str]) -> PlaybookError:
    return PlaybookError(place, f"family {family} has no size {size}", advice=f"available: {', '.join(sizes)}")


def _key(family: str) -> str:
    return family if family in FAMILY_TABLE else family_constraints(family) or family


def _constraints(family: str) -> Family:
    key = _key(family)
    if key not in FAMILY_TABLE:
        known = sorted({*FAMILY_TABLE, *known_families()})
        close = difflib.get_close_matches(family, known, n=3)
        advice = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known)}"
        raise PlaybookError("built-in table", f"no family {family}", advice=f"{advice}; or give --contracts-path")
    return FAMILY_TABLE[key]


def checked_names(family: str, size: str, hf_repo: str) -> tuple[str, str]:
    """Family and size in lower case. PlaybookError: they cannot stand in a file name, or HF_REPO is not ORG/NAME."""
    for name, text in (("FAMILY", family.lower()), ("SIZE", size.lower())):
        if not _NAME.fullmatch(text):
            raise PlaybookError(name, "cannot be part of a playbook's name", found=repr(text), advice="as qwen2, 1.5b")
    if not _REPOSITORY.fullmatch(hf_repo):
        raise PlaybookError("--hf-repo", "is not a repository", found=repr(hf_repo), advice="give ORG/NAME")
    return family.lower(), size.lower()


def playbook_stem(family: str, size: str, tier: Tier) -> str:
    """Name of the playbook, which is its file's without `.playbook.yaml`."""
    return f"{family}-{size}-{tier.name}"


def bootstrap_text(
    family: str,
    size: str,
    hf_repo: str,
    tier: Tier,
    shape: Shape,
    *,
    stem: str | None = None,
    schema: str | None = None,
) -> str:
    """The playbook of HF_REPO for TIER. `stem`: its name where the file is not called by the rule.

    `schema`: what the first line names for editors, a path from the playbook's folder or an address.
    """
    billions = billions_in_name(size) or billions_in_name(hf_repo)
    category = category_of(billions) if billions is not None else ""
    facts = PlaybookFacts(
        file=(stem or playbook_stem(family, size, tier)) + SUFFIX,
        hf_repo=hf_repo,
        size_category=category,
        formats=ALL_FORMATS,
        quantizations=("q4_k_m",),
        modalities=tier.modalities or ("run", "chat", "serve"),
        backends=tier.backends or ("cpu", "gpu"),
        scenario_count=tier.new_count,
        timeout_ms=None,
        # A family of which sizes are published has no others: a size of one's own is a label, not a claim.
        size_variant=size if size in SIZES.get(shape.family.name, {size: None}) else "",
        dimensions=shape.dimensions,
    )
    speed, p99 = LIMITS.get(category, LIMITS_ELSE)
    wishes = Wishes(
        profile=profile_of(shape.family, max_positions=shape.max_positions),
        tier=tier.name,
        version="1.0.0",
        assertions={} if not tier.new_speeds else {"min_throughput": float(speed), "max_p99_ms": float(p99)},
        format_validation=tier.new_speeds,
    )
    model = ModelFacts(hf_repo, family, size.upper(), category)
    return playbook_text(facts, model, schema=schema, wishes=wishes)
