"""Performance against the playbook's own assertions (`profile_ci.assertions`); without them, nothing is asserted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook


@pytest.mark.gate("F-PERF-001", severity="P1")
def test_throughput(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Median decoding speed of one request at a time reaches the playbook's minimum for the backend."""
    from pytest_aprqa.suite.speed_profile import profile_of
    from pytest_aprqa.suite.speed_statistics import median

    profile = playbook.profile_ci
    if profile is None or not profile.get("enabled"):
        pytest.skip("profile_ci is not enabled in the playbook")
    named = engine.format in profile.get("formats", (engine.format,))
    if not named or engine.backend not in profile.get("backends", (engine.backend,)):
        pytest.skip(f"profile_ci does not name {engine.format} on {engine.backend}")
    assertions = profile.get("assertions") or {}
    minimum = assertions.get(f"min_throughput_{engine.backend}", assertions.get("min_throughput"))
    if minimum is None:
        pytest.skip(f"profile_ci.assertions has no min_throughput for {engine.backend}")
    speeds = profile_of(engine, playbook).speeds
    assert speeds, "no measured request generated a token"
    middle = median(speeds)
    observe("tokens_per_second", middle, limit=minimum, unit="tokens/s", passed=middle >= minimum)
    observe("lowest", min(speeds), unit="tokens/s")
    observe("highest", max(speeds), unit="tokens/s")
    assert middle >= minimum, (
        f"{engine.format} {engine.backend}: {middle:.1f} tok/s < {minimum} min (median of {len(speeds)})"
    )
