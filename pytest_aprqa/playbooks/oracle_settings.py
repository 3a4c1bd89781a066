"""The `oracles` block as the oracles take it: each with the settings of its own type, expected answers as text."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.playbooks.document import Document
from pytest_aprqa.playbooks.errors import KeyPath

# Settings of each type of oracle.
SETTINGS: dict[str, tuple[str, ...]] = {
    "arithmetic": ("tolerance", "answers"),
    "garbage": ("max_repetition_ratio", "min_unique_chars"),
    "code_syntax": ("languages",),
    "response": ("min_relevance", "check_coherence"),
    "composite": ("mode", "oracles"),
}


def configured_oracles(document: Document, warnings: list[str]) -> tuple[dict[str, Any], ...]:
    """The oracles of a validated playbook; a setting of another type is left out, with a warning."""
    entries = document.data.get("oracles", ())
    return tuple(_oracle(document, entry, ("oracles", index), warnings) for index, entry in enumerate(entries))


def _oracle(document: Document, entry: dict[str, Any], path: KeyPath, warnings: list[str]) -> dict[str, Any]:
    kind = entry["type"]
    config: dict[str, Any] = {}
    for name, value in entry.get("config", {}).items():
        where = (*path, "config", name)
        if name not in SETTINGS[kind]:
            if any(name in names for names in SETTINGS.values()):
                advice = f"settings of {kind}: {', '.join(SETTINGS[kind])}"
                warnings.append(str(document.error(where, f"is not a setting of {kind}, ignored", advice=advice)))
        elif name == "answers":
            config[name] = {prompt: str(answer) for prompt, answer in value.items()}
        elif name == "oracles":
            config[name] = [_oracle(document, e, (*where, index), warnings) for index, e in enumerate(value)]
        else:
            config[name] = value
    if kind == "composite" and not config.get("oracles"):
        raise document.error(path, "a composite oracle without members judges nothing", advice="list its `oracles`")
    return {"type": kind, "config": config}
