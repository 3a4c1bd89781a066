"""A plugin for one run of `aprqa run --json`: it leaves the folder and the score where the command finds them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "APRQA_RUN_RESULT"  # path of the file that is written


@pytest.hookimpl(optionalhook=True)
def pytest_aprqa_reports(config: pytest.Config, folder: Path, evidence: list[Any], score: Any) -> None:
    """Write what the reports are made of, in short."""
    outcomes: dict[str, int] = {}
    for entry in evidence:
        outcomes[entry.outcome.value] = outcomes.get(entry.outcome.value, 0) + 1
    facts = {"folder": str(folder), "outcomes": outcomes, "score": score.to_dict() if score else None}
    Path(os.environ[VARIABLE]).write_text(json.dumps(facts), encoding="utf-8")
