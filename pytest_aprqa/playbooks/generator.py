"""Playbooks written from facts: the matrix and dimensions of a published model, prompts of its family's profile.

What it writes is a playbook like any other: read by people, reviewed, committed, and checked by its schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pytest_aprqa.playbooks.blocks import DIFFERENTIAL_DEFAULTS
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.facts import ModelFacts, PlaybookFacts
from pytest_aprqa.playbooks.kernel_profiles import KernelProfile, ProfilePrompt, kernel_profile
from pytest_aprqa.playbooks.size_categories import category_from_name

SCHEMA_LINE = "# yaml-language-server: $schema={schema}"
TIER_SUFFIX = re.compile(r"-(mvp|smoke|quick|ci|full)$")
GATES = ("g1_model_loads", "g2_basic_inference", "g3_no_crashes", "g4_output_quality")
DEFAULT_FAMILY = "llama"  # the most common shape, for families that the table of constraints does not know
CODE_FAMILIES = ("coder", "code", "star")

# Time limit of a scenario in ms, and the least tokens/s on cpu and gpu, by size (playbook.md section 3, survey).
TIMEOUTS_MS = {"tiny": 60_000, "small": 90_000, "medium": 120_000, "large": 180_000, "xlarge": 300_000, "huge": 600_000}
THROUGHPUT = {
    "tiny": (20.0, 100.0),
    "small": (5.0, 50.0),
    "medium": (5.0, 50.0),
    "large": (3.0, 30.0),
    "xlarge": (2.0, 15.0),
    "huge": (1.0, 0.0),
}
INSTRUCTIONS = (
    "Hello!",
    "Write a haiku about programming.",
    "Explain what a variable is in one sentence.",
    "Say hello in three languages.",
)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a playbook of a model that is not in the fact tables states otherwise than those written from them."""

    profile: KernelProfile
    tier: str
    version: str
    assertions: Mapping[str, float]  # of profile_ci; empty: no such block
    format_validation: bool


def playbook_text(
    facts: PlaybookFacts, model: ModelFacts, *, schema: str | None = None, wishes: Wishes | None = None
) -> str:
    """The text of one playbook. `schema`: path or address for editors that check YAML as it is typed.

    PlaybookError: the schema's name does not fit into the comment of one line that names it.
    """
    if schema and not schema.isprintable():
        raise PlaybookError(schema, "is no name of a schema", advice="give a path or an address of one line")
    family = wishes.profile.family if wishes else model.constraints or DEFAULT_FAMILY
    profile = wishes.profile if wishes else kernel_profile(family)
    continues = "chat" not in facts.modalities and facts.scenario_count == 1 and wishes is None
    prompts = _prompts(facts, profile, base_model=continues)
    size = facts.size_category or model.size_category or category_from_name(facts.hf_repo) or "auto"
    cells = len(facts.formats) * len(facts.backends) * len(facts.modalities)
    tier = wishes.tier if wishes else _tier(facts)
    known = "" if model.constraints or wishes else " (not in the table of families; prompts are the general ones)"
    head = [
        f"# {facts.hf_repo}: {cells} cells, {facts.scenario_count} scenarios in each.",
        f"# Prompts for family {family}{known}: {', '.join(profile.operations)}.",
    ]
    if wishes:
        head.append(f"# {len(prompts)} prompts. Written by aprqa bootstrap; read it, then lock it.")
    if schema:
        head.insert(0, SCHEMA_LINE.format(schema=schema))
    stated = profile.family if wishes or model.constraints else None
    sections = _sections(facts, model, stated, profile, prompts, size, tier)
    if wishes:
        sections = _as_wished(sections, wishes, facts)
    body = [yaml_text(part) for part in sections]
    return "\n".join(head) + "\n" + "\n".join(body)


def _tier(facts: PlaybookFacts) -> str:
    match = TIER_SUFFIX.search(facts.stem)
    return match[1] if match else "deep"


def _prompts(facts: PlaybookFacts, profile: KernelProfile, *, base_model: bool) -> list[ProfilePrompt]:
    """Prompts of the profile, as many as the matrix can use; a base model is asked to go on, not to answer."""
    total = len(facts.formats) * len(facts.backends) * len(facts.modalities) * facts.scenario_count
    prompts = list(profile.prompts)
    if base_model:
        prompts = [p for p in prompts if p.oracle == "code_syntax"]
        prompts += [
            ProfilePrompt(text, "arithmetic_verification", "arithmetic", 32) for text in ("2+2=", "15-7=", "7*8=")
        ]
    elif facts.scenario_count < len(prompts):
        easy = [p for p in prompts if p.category == "arithmetic_verification"]
        prompts = (easy + [p for p in prompts if p not in easy])[: max(total, 1)] if total < len(prompts) else prompts
    else:
        prompts += [ProfilePrompt(text, "instruction", "response", 64) for text in INSTRUCTIONS]
    return prompts


def _sections(
    facts: PlaybookFacts,
    model: ModelFacts,
    family: str | None,
    profile: KernelProfile,
    prompts: Sequence[ProfilePrompt],
    size: str,
    tier: str,
) -> list[dict[str, Any]]:
    return [
        {
            "name": facts.stem,
            "version": "2.0.0",
            "description": f"Qualifies {facts.hf_repo} ({model.parameters}), tier {tier}.",
        },
        {"model": _model(facts, family, size)},
        {
            "test_matrix": {
                "modalities": list(facts.modalities),
                "backends": list(facts.backends),
                "scenario_count": facts.scenario_count,
                "seed": 42,
                "timeout_ms": facts.timeout_ms or TIMEOUTS_MS.get(size, 120_000),
                "max_tokens": max(prompt.max_tokens for prompt in prompts),
                "prompts": [prompt.text for prompt in prompts],
            }
        },
        {"gates": dict.fromkeys(GATES, True)},
        {"oracles": _oracles(prompts)},
        {"failure_policy": "stop_on_p0" if tier == "ci" else "collect_all"},
        {"contract_tests": {"invariants": ["I-1", "I-2", "I-3", "I-4", "I-5"]}},
        *([{"profile_ci": _profile(facts, size)}] if tier in ("mvp", "deep", "full") else []),
        {
            "kernel_profile": {
                "family": profile.family,
                "kernel_ops": list(profile.operations),
                "prompt_count": len(prompts),
                "long_context": profile.long_context,
            }
        },
        {"metadata": {"author": "pytest-aprqa", "tier": tier, "tags": [model.family, size, tier]}},
    ]


def _as_wished(sections: list[dict[str, Any]], wishes: Wishes, facts: PlaybookFacts) -> list[dict[str, Any]]:
    """The sections with the version of WISHES, and its blocks before the profile of operations."""
    sections[0]["version"] = wishes.version
    kept = [section for section in sections if "profile_ci" not in section]
    blocks: list[dict[str, Any]] = []
    if wishes.format_validation:
        checks = list(DIFFERENTIAL_DEFAULTS["format_validation"]["checks"])
        blocks.append({"differential_tests": {"format_validation": {"enabled": True, "checks": checks}}})
    if wishes.assertions:
        profile = _profile(facts, "") | {"assertions": dict(wishes.assertions)}
        blocks.append({"profile_ci": profile})
    place = next(number for number, section in enumerate(kept) if "kernel_profile" in section)
    return kept[:place] + blocks + kept[place:]


def _model(facts: PlaybookFacts, family: str | None, size: str) -> dict[str, Any]:
    section: dict[str, Any] = {"hf_repo": facts.hf_repo, "formats": list(facts.formats)}
    if facts.quantizations:
        section["quantizations"] = list(facts.quantizations)
    section["size_category"] = size
    if facts.size_variant and family:
        section |= {"family": family, "size_variant": facts.size_variant}
    return section | {f"expected_{name}": value for name, value in facts.dimensions.items()}


def _oracles(prompts: Sequence[ProfilePrompt]) -> list[dict[str, Any]]:
    answers = {prompt.text: int(prompt.answer) for prompt in prompts if prompt.answer is not None}
    arithmetic: dict[str, Any] = {"tolerance": 0.01} | ({"answers": answers} if answers else {})
    oracles = [
        {"type": "arithmetic", "config": arithmetic},
        {"type": "garbage", "config": {"max_repetition_ratio": 0.3, "min_unique_chars": 10}},
    ]
    if any(prompt.oracle == "code_syntax" for prompt in prompts):
        oracles.append({"type": "code_syntax", "config": {"languages": ["python", "rust"]}})
    return oracles


def _profile(facts: PlaybookFacts, size: str) -> dict[str, Any]:
    cpu, gpu = THROUGHPUT.get(size, (1.0, 0.0))
    assertions = {"min_throughput_cpu": cpu} | ({"min_throughput_gpu": gpu} if "gpu" in facts.backends and gpu else {})
    return {
        "enabled": True,
        "warmup": 1,
        "measure": 2,
        "formats": list(facts.formats),
        "backends": list(facts.backends),
        "assertions": assertions,
    }


class _Dumper(yaml.SafeDumper):
    """Lists of short words on one line, everything else as people write it."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """List items stand two spaces in from their key."""
        return super().increase_indent(flow, False)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    short = all(isinstance(item, str) and re.fullmatch(r"[\w.+-]+", item) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=short)


_Dumper.add_representer(list, _list)


def yaml_text(section: dict[str, Any]) -> str:
    """YAML as people write it: keys in the order given, short lists on one line."""
    return yaml.dump(section, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=116, default_flow_style=False)
