"""The numbers of docs/explanation/scoring.md: every worked example is computed, every table compared with the rules."""

import re
from pathlib import Path

import pytest

from pytest_aprqa.scoring.categories import MAXIMA
from pytest_aprqa.scoring.falsification import wilson_lower_bound
from pytest_aprqa.scoring.grades import normalize
from pytest_aprqa.scoring.rules import rules
from pytest_aprqa.scoring.score import score
from tests.scoring.entries import complete_run, crashed, failed, passed, skipped, timed_out

PAGE = (Path(__file__).parents[2] / "docs" / "explanation" / "scoring.md").read_text(encoding="utf-8")
MAKERS = {"pass": passed, "fail": failed, "skip": skipped, "timeout": timed_out, "crash": crashed}
PART = re.compile(
    r"(?:(?P<number>\d+) (?P<what>pass|fail|skip|timeout|crash)|(?P<without>without)) `(?P<gate>[A-Z0-9-]+)`"
)


def table_rows(first_heading: str) -> list[list[str]]:
    """Cells of the table whose first column has this heading."""
    lines = PAGE.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_heading} |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def evidence_of(words: str):
    """`base, 2 skip `F-X`, without `F-Y`` as a list of entries."""
    evidence = []
    for part in words.split(", "):
        if part == "base":
            evidence += complete_run()
            continue
        match = PART.fullmatch(part)
        assert match, part
        if match["without"]:
            evidence = [e for e in evidence if e.gate_id != match["gate"]]
        else:
            evidence += [MAKERS[match["what"]](match["gate"]) for _ in range(int(match["number"]))]
    return evidence


def computed(words: str) -> list[str]:
    result = score(evidence_of(words), model_id="m")
    compat = score(evidence_of(words), model_id="m", compat=True)
    return [
        str(result.raw_score),
        str(result.proven_raw),
        f"{result.normalized_score:.1f}",
        result.grade,
        result.status,
        f"{compat.raw_score} {compat.grade}",
    ]


@pytest.mark.parametrize("row", table_rows("Evidence"), ids=lambda row: row[0])
def test_a_worked_example(row):
    assert row[1:] == computed(row[0])


def test_there_are_examples_of_every_status_and_of_each_way_not_to_be_certified():
    rows = table_rows("Evidence")
    assert {row[5] for row in rows} == {"CERTIFIED", "PROVISIONAL", "BLOCKED"}
    words = " ".join(row[0] for row in rows)
    assert all(what in words for what in (*MAKERS, "without"))


def test_the_base_of_the_page_is_the_complete_run_of_the_tests():
    text = PAGE[PAGE.index("*Base* is") : PAGE.index("A test computes")]
    assert re.findall(r"`([A-Z0-9-]+)`", text) == [e.gate_id for e in complete_run()]


def test_the_example_by_hand():
    assert f"5/6 x 200 = {5 / 6 * 200:.1f}" in PAGE
    assert f"100 log10(1 + 9 x 0.967) = {normalize(967):.1f}" in PAGE


def test_the_table_of_grades_is_the_rules():
    rows = table_rows("Normalised")
    seed = rules()["grades"]["seed"]
    assert [row[1] for row in rows] == [letter for _, letter, _ in seed]
    for (words, _, raw), (least, _, _) in zip(rows, seed, strict=True):
        if least is None:
            assert int(raw) == 0
            continue
        assert words.startswith(str(least))
        assert normalize(int(raw)) >= least > normalize(int(raw) - 1)


def test_the_table_of_categories_and_the_maxima_are_the_rules():
    prefixes = [p for rule in rules()["categories"]["prefixes"] for p in rule["gate_ids"]]
    assert re.findall(r"`([^`]+)`", " ".join(row[0] for row in table_rows("Gate id")[:3])) == prefixes
    words = dict(re.findall(r"(quality|performance|stability|compatibility|edge cases|regression) (\d+)[,;]", PAGE))
    assert [int(n) for n in words.values()] == list(MAXIMA.values())


@pytest.mark.parametrize(
    "sentence",
    [
        "Penalties: {penalties[crash]} for each crash, {penalties[timeout]} for each",
        "or raw below {status[provisional_from]} |",
        "raw and proven score {status[certified_from]} or more",
        "the tier: {tier_thresholds[mvp]}, for `deep` {tier_thresholds[deep]}.",
        "no refuted P0 check and {qualifies_from} normalised",
        "for {production_ready_from}.",
    ],
)
def test_a_number_of_the_text_is_the_rules(sentence):
    assert sentence.format(**rules()) in PAGE


def test_the_table_of_fields_is_complete():
    named = re.findall(r"`([a-z_]+)`", " ".join(row[0] for row in table_rows("Field")))
    assert sorted(named) == sorted(score(complete_run(), model_id="m").to_dict())


def test_the_wilson_bounds_of_the_page():
    assert (
        f"Ten of ten gives {wilson_lower_bound(10, 10):.2f}, a hundred of a hundred {wilson_lower_bound(100, 100):.2f}"
        in PAGE
    )
