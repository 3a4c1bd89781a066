"""Hooks that other plugins may implement. Each is documented here and tested with pytester."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from pytest_aprqa.engines.plugins import EnginePlugin


@pytest.hookspec
def pytest_aprqa_check_modules(config: pytest.Config) -> list[ModuleType | str]:  # type: ignore[empty-body]
    """Modules (or their names, or paths of files) with further checks, collected with every playbook."""


@pytest.hookspec
def pytest_aprqa_engines(config: pytest.Config) -> list[EnginePlugin]:  # type: ignore[empty-body]
    """Further engines, each an `EnginePlugin`; chosen with `--engine NAME`, or preferred for formats that it names."""


@pytest.hookspec
def pytest_aprqa_evidence(config: pytest.Config, evidence: Any) -> None:
    """Called on the controller for each recorded `Evidence`, after it has reached the disk."""


@pytest.hookspec
def pytest_aprqa_reports(config: pytest.Config, folder: Path, evidence: list[Any], score: Any) -> None:
    """Called on the controller at the end, when the built-in reports are written; `score` is None for an empty run."""
