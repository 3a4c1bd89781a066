"""Engine hosts around engines that these tests wrote, closed when the test is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.engines.host import EngineHost

ROOT = Path(__file__).parents[2]


@pytest.fixture
def started_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EngineHost]]:
    """A host of `MODULE:CLASS` below tests/engines, started."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    hosts: list[EngineHost] = []

    def make(name: str, **options: Any) -> EngineHost:
        host = EngineHost(f"tests.engines.{name}", **options)
        hosts.append(host)
        host.start()
        return host

    yield make
    for host in hosts:
        host.close()
