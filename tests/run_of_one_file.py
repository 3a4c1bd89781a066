"""A run of chosen checks on one file as it stands, in a process of its own, and its evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml


def entries_of_a_run(
    pytester: pytest.Pytester, file: Path, form: str, keyword: str, *options: str, modalities: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Entries by gate of the checks that KEYWORD selects on the bundled model in FILE."""
    document = {
        "name": "one-file",
        "version": "1.0.0",
        "model": {"hf_repo": "aprqa/tiny-qwen2", "local_path": str(file), "formats": [form], "size_category": "tiny"},
        "test_matrix": {
            "modalities": list(modalities),
            "backends": ["cpu"],
            "scenario_count": 2,
            "prompts": ["What is 2+2?", "Hello!"],
            "timeout_ms": 600000,
        },
    }
    path = pytester.path / "one-file.playbook.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    pytester.runpytest_subprocess(
        f"--playbook={path}", *options, "-p", "no:cacheprovider", "-q", "--tb=short", "-k", keyword
    )
    text = (pytester.path / "evidence/latest/evidence.json").read_text(encoding="utf-8")
    return {entry["gate_id"]: entry for entry in json.loads(text)}


def observed(entry: dict[str, Any]) -> dict[str, Any]:
    """Values of an entry by the name of what was observed."""
    return {one["name"]: one["value"] for one in entry["observed"]}


def summary(entry: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """(outcome, reason, observed values)."""
    return entry["outcome"], entry["reason"], observed(entry)
