"""Performance against the playbook's own assertions (`profile_ci.assertions`); without them, nothing is asserted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook

NEW_TOKENS = 16


@pytest.mark.gate("F-PERF-001", severity="P1")
def test_throughput(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """Median decoding speed of one request at a time reaches the playbook's minimum for the backend."""
    from pytest_aprqa.engines.protocol import GenerationRequest

    profile = playbook.profile_ci
    if profile is None or not profile.get("enabled"):
        pytest.skip("profile_ci is not enabled in the playbook")
    assertions = profile.get("assertions") or {}
    minimum = assertions.get(f"min_throughput_{engine.backend}", assertions.get("min_throughput"))
    if minimum is None:
        pytest.skip(f"profile_ci.assertions has no min_throughput for {engine.backend}")
    speeds = []
    for number in range(profile["warmup"] + profile["measure"]):
        request = GenerationRequest(
            key=f"speed-{number}",
            prompt=playbook.matrix.prompts[number % len(playbook.matrix.prompts)],
            mode="raw",
            max_new_tokens=NEW_TOKENS,
            temperature=0.0,
            seed=0,
        )
        started = time.perf_counter()
        result = engine.generate([request])[0]
        if number >= profile["warmup"] and result.new_ids:
            speeds.append(len(result.new_ids) / (time.perf_counter() - started))
    assert speeds, "no measured request generated a token"
    median = sorted(speeds)[len(speeds) // 2]
    observe("tokens_per_second", median, limit=minimum, unit="tokens/s", passed=median >= minimum)
    observe("lowest", min(speeds), unit="tokens/s")
    observe("highest", max(speeds), unit="tokens/s")
    assert median >= minimum, (
        f"{engine.format} {engine.backend}: {median:.1f} tok/s < {minimum} min (median of {len(speeds)})"
    )
