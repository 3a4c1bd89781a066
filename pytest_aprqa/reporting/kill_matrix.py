"""The kill matrix: which gate refutes which seeded defect, with what cause; and clean models refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_aprqa.reporting.hostile_text import fitted, for_terminal

Document = dict[str, Any]
Line = tuple[str, dict[str, bool]]

KILLED, WRONG_CAUSE, SURVIVED, NOT_APPLICABLE = "killed", "wrong cause", "survived", "not applicable"
UNSEEN = (WRONG_CAUSE, SURVIVED, "error")
VARIABLE_PARTS = {"{category}": r"A\d", "{rule}": r"PROV-\d{3}"}  # of gate ids, and what may stand there
GOOD, BAD, CAUTION, STRONG = {"green": True}, {"red": True}, {"yellow": True}, {"bold": True}


def matrix_document(
    results: Iterable[Mapping[str, Any]],
    gates: Sequence[Mapping[str, str]],
    left_out: Sequence[Mapping[str, str]] = (),
) -> Document:
    """The content of kill_matrix.json.

    `results` are the outcomes of the items, `gates` the suite's gates (`gate`, `check`, `group`, `title`). A gate of
    scenarios is written with `{category}`; the ids that were seen take its place. `left_out`: the suite's gates that no
    defect can reach (`gate`, `check`, `reason`), said in the document and counted nowhere.
    """
    ordered = sorted(results, key=lambda one: str(one["name"]))
    defects = [dict(one) for one in ordered if one["kind"] == "defect"]
    clean = [dict(one) for one in ordered if one["kind"] == "clean"]
    seen: dict[str, set[str]] = {gate["gate"]: set() for gate in gates}
    for key, names in _kills(defects).items():
        column = column_of(list(seen), key)
        if column is not None:
            seen[column] |= set(names)
    rows = [{**gate, "kills": sorted(seen[gate["gate"]])} for gate in gates]
    tried = [one for one in clean if one["verdict"] in ("accepted", "rejected", "error")]
    return {
        "totals": {verdict: sum(one["verdict"] == verdict for one in defects) for verdict in _verdicts(defects)},
        "defects": defects,
        "clean": {
            "tried": len(tried),
            "rejected": [one for one in tried if one["verdict"] != "accepted"],
            "not_tried": [one["name"] for one in clean if one not in tried],
            "names": [one["name"] for one in tried],
        },
        "gates": rows,
        "left_out": [dict(row) for row in left_out],
        "kills_nothing": [row["gate"] for row in rows if not row["kills"]],
    }


def same_gate(pattern: str, gate: str) -> bool:
    """True when a gate id seen in evidence belongs to the mark `pattern` (`F-{category}-001` covers F-A1-001)."""
    parts = re.split(r"(\{\w+\})", pattern)
    words = (VARIABLE_PARTS.get(part, ".+") if part.startswith("{") else re.escape(part) for part in parts)
    return re.fullmatch("".join(words), gate) is not None


def column_of(gates: Sequence[str], gate: str) -> str | None:
    """The gate of the suite to which a gate id of evidence belongs: itself, else one with a part that varies."""
    return gate if gate in gates else next((pattern for pattern in gates if same_gate(pattern, gate)), None)


def refuting_gates(defect: Mapping[str, Any]) -> list[str]:
    """Every gate that refuted a defect, the one that names the cause first."""
    first = [str(defect["killed_by"])] if defect.get("killed_by") else []
    return list(dict.fromkeys([*first, *(str(one["gate"]) for one in defect.get("also", ()))]))


def matrix_lines(document: Document, width: int, *, verbose: bool = False, whole: bool = True) -> list[Line]:
    """Terminal lines: gate by gate the defects it kills with the cause it gave, then what is wrong, then totals.

    `whole` False: only a part of the defects was tried, so that idle gates say nothing.
    """
    lines: list[Line] = []
    by_gate: dict[str, list[Document]] = {}
    for defect in document["defects"]:
        if defect["verdict"] == KILLED:
            by_gate.setdefault(str(defect["killed_by"]), []).append(defect)
    label = max((len(str(one["name"])) for one in document["defects"]), default=0)
    for gate, killed in sorted(by_gate.items()):
        lines.append((f"{gate} kills {len(killed)}", STRONG))
        lines += [(_row(one, label, width, verbose), GOOD) for one in killed]
    for verdict in UNSEEN:
        chosen = [one for one in document["defects"] if one["verdict"] == verdict]
        if chosen:
            lines.append((f"{verdict}: {len(chosen)}", STRONG))
            lines += [(_row(_first_other(one), label, width, verbose), BAD) for one in chosen]
    absent = [one for one in document["defects"] if one["verdict"] == NOT_APPLICABLE]
    if absent:
        lines.append((f"not applicable to this model: {len(absent)}", STRONG))
        lines += [(_row(one, label, width, verbose), CAUTION) for one in absent]
    return lines + _totals(document, width, whole=whole)


def _totals(document: Document, width: int, *, whole: bool) -> list[Line]:
    totals, clean = document["totals"], document["clean"]
    applicable = sum(count for verdict, count in totals.items() if verdict != NOT_APPLICABLE)
    killed = totals.get(KILLED, 0)
    lines: list[Line] = []
    for one in clean["rejected"]:
        cause = "; ".join(f"{by['gate']}: {by['cause']}" for by in one.get("rejected_by", ())) or one.get("cause", "")
        lines.append((fitted(for_terminal(f"clean model {one['name']} rejected: {cause}"), width), BAD))
    idle = document["kills_nothing"]
    if idle and whole:
        lines.append((for_terminal(f"gates that kill nothing here: {', '.join(idle)}"), CAUTION))
    lines.append(
        (
            f"{killed} of {applicable} defects killed by a gate that names the right cause",
            _mark(0 < killed == applicable),
        )
    )
    untried = CAUTION if not clean["tried"] else BAD
    text = f"{len(clean['rejected'])} of {clean['tried']} clean models rejected"
    lines.append((text, _mark(clean["tried"] > 0 and not clean["rejected"], untried)))
    return lines


def _mark(good: bool, bad: dict[str, bool] = BAD) -> dict[str, bool]:
    return {**(GOOD if good else bad), "bold": True}


def _row(defect: Document, label: int, width: int, verbose: bool) -> str:
    cause = re.sub(r"^model(\.\w+)?: ", "", str(defect.get("cause", "")))  # every copy has this name
    text = for_terminal(f"  {defect['name']:<{label}}  {cause}")
    return text if verbose else fitted(text, width)


def _first_other(defect: Document) -> Document:
    others = defect.get("also") or [{}]
    cause = defect.get("cause") or (f"{others[0]['gate']}: {others[0]['cause']}" if others[0] else "no gate refuted it")
    return {**defect, "cause": cause}


def _verdicts(defects: Sequence[Document]) -> list[str]:
    order = (KILLED, WRONG_CAUSE, SURVIVED, "error", NOT_APPLICABLE)
    present = {one["verdict"] for one in defects}
    return [verdict for verdict in order if verdict in present]


def _kills(defects: Sequence[Document]) -> dict[str, list[str]]:
    kills: dict[str, list[str]] = {}
    for defect in defects:
        for gate in refuting_gates(defect):
            kills.setdefault(gate, []).append(str(defect["name"]))
    return kills
