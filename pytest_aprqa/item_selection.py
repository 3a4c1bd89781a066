"""Why an item is not run: halted by the failure policy, outside the tier, or its gateway is switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.collection import PlaybookFile, target_of
from pytest_aprqa.marks import claim_of

if TYPE_CHECKING:
    from pytest_aprqa.run_state import RunState

# Keys of the playbook's `gates` block; G0 has none, it is always on.
GATE_SWITCHES = {
    "G1": "g1_model_loads",
    "G2": "g2_basic_inference",
    "G3": "g3_no_crashes",
    "G4": "g4_output_quality",
}


def reason_to_skip(item: pytest.Item, state: RunState) -> str | None:
    """The reason for which an item is not run, or None."""
    if state.halted is not None:
        return f"not run: {state.halted}"
    file = item.getparent(PlaybookFile)
    assert file is not None
    playbook, claim, target = file.playbook, claim_of(item), target_of(item)
    if claim.gateway in GATE_SWITCHES and playbook.gates.get(GATE_SWITCHES[claim.gateway], True) is False:
        return f"gateway {claim.gateway} is switched off by the playbook (gates.{GATE_SWITCHES[claim.gateway]})"
    if claim.invariant is not None and claim.invariant not in playbook.contract_invariants:
        return f"invariant {claim.invariant} is not listed in the playbook's contract_tests.invariants"
    for skip in playbook.skips:
        if target is not None and skip.part in (target.format, target.backend):
            return str(skip)
    tier = state.model_for(playbook).settings.restricting_tier
    if tier is not None and target is not None:
        from pytest_aprqa.playbooks.tiers import parse_tier

        return parse_tier(tier).reason_to_leave_out(target.format, target.backend, target.modality, target.scenario)
    return None


def depth_asked(config: pytest.Config) -> str | None:
    """The depth of `--depth`, None without it. UsageError: there is no such depth."""
    from pytest_aprqa.marks import DEPTHS
    from pytest_aprqa.options import option_or_ini

    wanted = option_or_ini(config, "--depth")
    if wanted is not None and wanted not in DEPTHS:
        raise pytest.UsageError(f"--depth: found {wanted!r}, limit {', '.join(DEPTHS)}")
    return None if wanted is None else str(wanted)


def keep_depth(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--depth`, deselect what is no comparison with the ground truth or goes deeper; the cheapest runs first."""
    from pytest_aprqa.marks import DEPTHS

    wanted = depth_asked(config)
    if wanted is None:
        return
    kept: list[tuple[int, pytest.Item]] = []
    left_out = []
    for item in items:
        depth = claim_of(item).depth if item.getparent(PlaybookFile) is not None else None
        if depth is not None and DEPTHS.index(depth) <= DEPTHS.index(wanted):
            kept.append((DEPTHS.index(depth), item))
        else:
            left_out.append(item)
    kept.sort(key=lambda pair: (str(pair[1].path), pair[0]))
    items[:] = [item for _, item in kept]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


def halts(policy: str, gate_id: str, gateway: str | None) -> bool:
    """True when a failure under this policy stops the run: any failure, or (stop-on-p0) one of G0 to G4."""
    from pytest_aprqa.marks import GATEWAYS
    from pytest_aprqa.playbooks.policies import FailurePolicy

    gateway_failed = gateway is not None or gate_id[:2] in GATEWAYS
    return FailurePolicy.parse(policy).halts_after(gateway_failed=gateway_failed)
