"""The rules of the score: one versioned JSON file, each rule with its reason, never a number in code."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

RULES_FILE = Path(__file__).with_name("rules.json")


@cache
def rules() -> dict[str, Any]:
    """The whole file. `version` is written into mqs.json: scores of different versions are not comparable."""
    loaded: dict[str, Any] = json.loads(RULES_FILE.read_text(encoding="utf-8"))
    return loaded
