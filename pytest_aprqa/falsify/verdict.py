"""Was a defect killed, and by a gate that names the right cause? And the sentences for what was not."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.defects.expectations import Expectation
    from pytest_aprqa.falsify.checks import Attempt

KILLED, WRONG_CAUSE, SURVIVED, NOT_APPLICABLE, ERROR = "killed", "wrong cause", "survived", "not applicable", "error"
LONGEST_CAUSE = 600  # characters of a cause that the matrix keeps


def is_right(attempt: Attempt, expected: Expectation) -> bool:
    """True when the check refuted the copy, is of an expected gate and says the words of the right cause."""
    named = any(fnmatchcase(attempt.gate, gate) for gate in expected.gates)
    return attempt.refuted and named and expected.matches(attempt.cause)


def is_answered(tried: Sequence[Attempt], expected: Expectation) -> bool:
    """True when a right gate has named the cause and every gate that must see it too has refuted the copy."""
    refuting = [attempt for attempt in tried if attempt.refuted]
    return any(is_right(attempt, expected) for attempt in refuting) and not _unseen(refuting, expected)


def _unseen(refuting: Sequence[Attempt], expected: Expectation) -> list[str]:
    return [gate for gate in expected.also if not any(fnmatchcase(attempt.gate, gate) for attempt in refuting)]


def judged(tried: Sequence[Attempt], expected: Expectation, folder: Path) -> dict[str, Any]:
    """The verdict on one defect: `killed_by` and `cause` of the first right gate, `also` for every other that fired.

    The place of the copy in `folder` is left out of the causes: it is another one in every run.
    """
    refuting = [attempt for attempt in tried if attempt.refuted]
    right = next((attempt for attempt in refuting if is_right(attempt, expected)), None)
    blind = _unseen(refuting, expected)
    verdict = KILLED if right and not blind else WRONG_CAUSE if refuting else SURVIVED
    others = [attempt for attempt in refuting if attempt is not right]
    return {
        "verdict": verdict,
        "killed_by": right.gate if right else None,
        "check": right.check if right else None,
        "cause": _short(right.cause, folder) if right else "",
        "observed": right.observed if right else [],
        "also": [{"gate": one.gate, "check": one.check, "cause": _short(one.cause, folder)} for one in others],
        "expected": {"gates": list(expected.gates), "words": expected.words, "also": list(expected.also)},
        "blind": blind,
        "gates_tried": sorted({attempt.gate for attempt in tried if attempt.outcome != "Skipped"}),
    }


def survival_text(result: dict[str, Any]) -> str:
    """Why a defect counts as not killed, and what to do."""
    expected = f"{' or '.join(result['expected']['gates'])} with a cause like /{result['expected']['words']}/"
    head = f"{result['name']} ({result['title']}) "
    if result["verdict"] == WRONG_CAUSE and result["blind"] and result["killed_by"]:
        return (
            f"{head}was named by {result['killed_by']}, but {', '.join(result['blind'])} did not see what follows from"
            " it: no text, garbage, or another answer. See what that gate compares."
        )
    if result["verdict"] == WRONG_CAUSE:
        found = "; ".join(f"{one['gate']}: {one['cause'][:160]}" for one in result["also"][:3])
        return (
            f"{head}was refuted, but not for the right cause: expected {expected}; found {found}."
            " Make the gate name the cause, or correct defects/expectations.py if this cause is right."
        )
    tried = ", ".join(result["gates_tried"]) or "none"
    return (
        f"{head}survived: no gate refuted it; expected {expected}; tried {tried}."
        " The gate is blind to it or switched off by the playbook: see what it compares, or raise it as a bug."
    )


def rejection_text(result: dict[str, Any]) -> str:
    """Why a clean model counts as rejected, and what to do."""
    if not result.get("rejected_by"):
        return f"clean model {result['name']}: no check could be tried, so nothing is shown"
    found = "; ".join(f"{one['check']}: {one['cause'][:200]}" for one in result["rejected_by"][:3])
    return f"clean model {result['name']} was rejected by {found}. A gate that refutes a sound model is wrong: mend it."


def _short(text: str, folder: Path) -> str:
    text = text.replace(f"{folder}/", "").replace(str(folder), folder.name)
    return text if len(text) <= LONGEST_CAUSE else text[: LONGEST_CAUSE - 3] + "..."
