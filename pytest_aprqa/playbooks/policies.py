"""Failure policies: which failure ends a run. Skipped is never a failure."""

from __future__ import annotations

from enum import Enum


class FailurePolicy(Enum):
    """What happens after an item is Falsified, Crashed or Timeout."""

    STOP_ON_FIRST = "stop-on-first"  # halt at the first failing item
    STOP_ON_P0 = "stop-on-p0"  # halt on a failure of a gateway G0 to G4, continue on others
    COLLECT_ALL = "collect-all"  # run everything
    FAIL_FAST = "fail-fast"  # as stop-on-first, with a diagnostic report

    @classmethod
    def parse(cls, text: str) -> FailurePolicy:
        """The policy of a command-line or playbook word; `stop_on_p0` and `Stop-On-P0` are the same. ValueError."""
        word = text.strip().lower().replace("_", "-")
        for policy in cls:
            if policy.value == word:
                return policy
        raise ValueError(f"Unknown failure policy: {text}. Use: {', '.join(policy.value for policy in cls)}")

    def halts_after(self, *, gateway_failed: bool) -> bool:
        """True when a failing item ends the run; `gateway_failed`: the item belongs to one of G0 to G4."""
        if self is FailurePolicy.COLLECT_ALL:
            return False
        return gateway_failed if self is FailurePolicy.STOP_ON_P0 else True

    @property
    def writes_diagnostics(self) -> bool:
        """True when the first failure is followed by a diagnostic report."""
        return self is FailurePolicy.FAIL_FAST


DEFAULT_POLICY = FailurePolicy.STOP_ON_P0
