"""The marks of a check: `gateway`, `invariant`, `gate`; the signature of each inner function is the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SEVERITIES = ("P0", "P1", "P2")
GATEWAYS = ("G0", "G1", "G2", "G3", "G4")
INVARIANTS = ("I-1", "I-2", "I-3", "I-4", "I-5")
# What a comparison with the ground truth looks at, cheapest first; the first three need no engine.
DEPTHS = ("structure", "weights", "tokens", "logits", "text")

MARK_LINES = (
    "gateway(id): the check belongs to gateway G0..G4; a failure zeroes the score",
    "invariant(id): the check tries to refute contract invariant I-1..I-5",
    'gate(id, *, severity="P1", title=""): id, severity (P0, P1, P2) and title under which evidence is filed',
    "depth(name): the check compares with the ground truth: structure, weights, tokens, logits or text",
    'block(path): the check exists only where the playbook configures that block, for example "trace_payload"',
    "opens_artifact: the check itself judges whether the file opens; other checks of that file are then blocked",
    "ends_engine: the check ends the engine; it runs after all others of that engine",
    "loads_engine: the check itself judges whether the engine loads; other checks of that engine are then blocked",
)


class MarkError(ValueError):
    """A mark of a check has a wrong argument."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a check claims: the gate under which its evidence is filed."""

    gate_id: str
    severity: str
    title: str
    gateway: str | None
    invariant: str | None
    depth: str | None = None


def claim_of(item: pytest.Item) -> Claim:
    """Read and check the marks of an item. A check without a `gate` mark is filed under `CHECK-{function}`."""
    gate_id, severity, title = f"CHECK-{getattr(item, 'originalname', item.name)}", "P1", ""
    gateway: str | None = None
    invariant: str | None = None
    depth: str | None = None

    def gate_mark(id: str, *, severity: str = "P1", title: str = "") -> tuple[str, str, str]:  # noqa: A002
        if severity not in SEVERITIES:
            raise MarkError(f"{item.nodeid}: mark gate: severity {severity!r} is not one of {', '.join(SEVERITIES)}")
        return id, severity, title

    def gateway_mark(id: str) -> str:  # noqa: A002
        if id not in GATEWAYS:
            raise MarkError(f"{item.nodeid}: mark gateway: {id!r} is not one of {', '.join(GATEWAYS)}")
        return id

    def invariant_mark(id: str) -> str:  # noqa: A002
        if id not in INVARIANTS:
            raise MarkError(f"{item.nodeid}: mark invariant: {id!r} is not one of {', '.join(INVARIANTS)}")
        return id

    def depth_mark(name: str) -> str:
        if name not in DEPTHS:
            raise MarkError(f"{item.nodeid}: mark depth: {name!r} is not one of {', '.join(DEPTHS)}")
        return name

    closest: dict[str, pytest.Mark] = {}
    for found in item.iter_markers():
        closest.setdefault(found.name, found)
    mark = None
    try:
        if mark := closest.get("gate"):
            gate_id, severity, title = gate_mark(*mark.args, **mark.kwargs)
        if mark := closest.get("gateway"):
            gateway = gateway_mark(*mark.args, **mark.kwargs)
        if mark := closest.get("invariant"):
            invariant = invariant_mark(*mark.args, **mark.kwargs)
        if mark := closest.get("depth"):
            depth = depth_mark(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise MarkError(f"{item.nodeid}: mark {mark.name if mark else '?'}: {error}") from None
    return Claim(gate_id, severity, title, gateway, invariant, depth)
