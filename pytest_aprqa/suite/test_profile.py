"""`profile_ci` beyond throughput: latencies, memory, and no regression against a saved baseline; only what is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.suite.speed_profile import SpeedProfile

ASSERTIONS = "profile_ci.assertions"
BLIND = 0.5  # a test that sees only losses beyond this says nothing


@pytest.mark.block(f"{ASSERTIONS}.max_p99_ms")
@pytest.mark.gate("F-PROFILE-CI-002", severity="P1")
def test_slowest_requests_are_fast_enough(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The 99th percentile of whole requests of 16 tokens is within the playbook's limit."""
    _judge_latency(_profile(engine, playbook, observe), playbook, observe, 99)


@pytest.mark.block(f"{ASSERTIONS}.max_p50_ms")
@pytest.mark.gate("F-PROFILE-CI-003", severity="P2")
def test_usual_requests_are_fast_enough(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The median of whole requests of 16 tokens is within the playbook's limit."""
    _judge_latency(_profile(engine, playbook, observe), playbook, observe, 50)


@pytest.mark.block(f"{ASSERTIONS}.max_memory_mib")
@pytest.mark.gate("F-PERF-005", severity="P2")
def test_memory_is_within_its_limit(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The engine's process never held more memory than the playbook allows."""
    found, limit = _profile(engine, playbook, observe).memory_mib, _assertion(playbook, "max_memory_mib")
    if found is None:
        pytest.skip("this system does not tell the peak memory of a process")
    observe("peak_memory", found, limit=limit, unit="MiB", passed=found <= limit)
    assert found <= limit, f"{engine.format} {engine.backend}: {found:.0f} MiB > {limit:g} MiB max"


@pytest.mark.block("profile_ci.baseline")
@pytest.mark.gate("F-PROFILE-DIFF-001", severity="P1")
def test_speed_is_that_of_the_baseline(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The speed did not fall by more than 5 %: the 95 % interval of the ratio of medians is not all below 0.95."""
    _judge_change(engine, playbook, observe, 0.05)


@pytest.mark.block("profile_ci.baseline")
@pytest.mark.gate("F-PROFILE-DIFF-002", severity="P2")
def test_speed_did_not_collapse(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> None:
    """The speed did not fall by more than 10 %: the 95 % interval of the ratio of medians is not all below 0.9."""
    _judge_change(engine, playbook, observe, 0.10)


def _judge_latency(profile: SpeedProfile, playbook: Playbook, observe: Observe, share: int) -> None:
    from pytest_aprqa.suite.speed_statistics import percentile

    limit = _assertion(playbook, f"max_p{share}_ms")
    found = percentile(profile.latencies_ms, share)
    observe("requests", len(profile.latencies_ms), limit=">= 1")
    observe(f"p{share}", found, limit=limit, unit="ms", passed=found <= limit)
    assert found <= limit, f"p{share} of {len(profile.latencies_ms)} requests: {found:.1f} ms > {limit:g} ms max"


def _judge_change(engine: LoadedEngine, playbook: Playbook, observe: Observe, allowed: float) -> None:
    from pytest_aprqa.suite.speed_profile import machine, read_baseline
    from pytest_aprqa.suite.speed_statistics import change, median

    assert playbook.profile_ci is not None
    path = playbook.path.parent / str(playbook.profile_ci["baseline"])
    cell = f"{engine.format}-{engine.backend}"
    profile = _profile(engine, playbook, observe)
    # Kept in the evidence: a baseline is made of it, see `aprqa baseline`.
    observe("machine", machine())
    observe("speed_samples", [round(speed, 3) for speed in profile.speeds], unit="tokens/s")
    if not path.exists():
        pytest.skip(f"profile_ci.baseline: {path} is not there; save one: aprqa baseline RUN --output {path}")
    before = read_baseline(path).get(cell)
    if before is None:
        pytest.skip(f"{path.name}: no speed of {cell}")
    for name, mine in (("machine", machine()), ("engine", engine.description.name)):
        if before.get(name) != mine:
            pytest.skip(f"{path.name}: measured with {name} {before.get(name)}, here it is {mine}: no comparison")
    try:
        found = change(before["samples"], profile.speeds, allowed)
    except ValueError as error:
        pytest.skip(f"nothing can be said about a change: {error}")
    observe("ratio_of_medians", found.ratio, limit=f">= {1 - allowed:g}")
    observe("interval_low", found.low)
    lost = found.is_loss_beyond(allowed)
    observe("interval_high", found.high, limit=f">= {1 - allowed:g}", passed=not lost)
    observe("detectable_loss", found.detectable, limit=BLIND)
    assert not lost, (
        f"{cell}: {median(profile.speeds):.1f} tok/s, {median(before['samples']):.1f} in the baseline: ratio"
        f" {found.ratio:.3f}, 95 % interval {found.low:.3f} to {found.high:.3f}, limit {1 - allowed:g}"
    )
    if found.detectable > BLIND:
        pytest.skip(f"too noisy: only a loss of {found.detectable:.0%} or more would be seen (power 80 %)")


def _profile(engine: LoadedEngine, playbook: Playbook, observe: Observe) -> SpeedProfile:
    from pytest_aprqa.suite.speed_profile import profile_of

    settings = playbook.profile_ci
    assert settings is not None
    if engine.format not in settings["formats"] or engine.backend not in settings["backends"]:
        pytest.skip(f"profile_ci does not name {engine.format} on {engine.backend}")
    profile = profile_of(engine, playbook)
    assert profile.speeds, "no measured request generated a token"
    if profile.memory_mib is not None:
        observe("memory", profile.memory_mib, unit="MiB")
    return profile


def _assertion(playbook: Playbook, name: str) -> float:
    assert playbook.profile_ci is not None
    return float(playbook.profile_ci["assertions"][name])
