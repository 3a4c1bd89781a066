"""`--compat` gives the earlier tool's numbers for the 36 files that it recorded; our rules give what the seed says."""

import json
from pathlib import Path

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.scoring.categories import MAXIMA
from pytest_aprqa.scoring.score import score
from tests.scoring.entries import crashed, failed, passed, skipped, timed_out

ROWS = json.loads((Path(__file__).parents[1] / "data/scoring/ancestor_scores.json").read_text(encoding="utf-8"))
MAKERS = {
    "Corroborated": passed,
    "Falsified": failed,
    "Skipped": skipped,
    "Timeout": timed_out,
    "Crashed": crashed,
}
FILES = [(name, row) for row in ROWS for name in row["files"]]


def evidence_of(row) -> list[Evidence]:
    return [
        MAKERS[outcome](gate_id)
        for gate_id, outcomes in row["evidence"].items()
        for outcome, number in outcomes.items()
        for _ in range(number)
    ]


def test_there_are_as_many_files_and_entries_as_were_recorded():
    assert len({name for name, _ in FILES}) == 36
    assert sum(row["entries"] for _, row in FILES) == 1268


@pytest.mark.parametrize(("name", "row"), FILES, ids=[name for name, _ in FILES])
def test_compat_reproduces_the_recorded_file(name, row):
    evidence = evidence_of(row)
    assert len(evidence) == row["entries"]
    result = score(evidence, model_id=name, compat=True)
    facts = result.to_dict()
    assert facts["total_tests"] == row["entries"]
    assert facts["tests_passed"] == row["passed"]
    assert "".join(str(int(g["passed"])) for g in facts["gateways"]) == row["gates"]
    assert facts["raw_score"] == row["raw"]
    assert f"{facts['normalized_score']:.2f}" == f"{row['normalized']:.2f}"
    assert facts["grade"] == row["grade"]
    penalties = 20 * sum(e.outcome is Outcome.CRASHED for e in evidence)
    assert result.ungated_raw == sum(row["categories"]) - penalties
    shown = list(facts["categories"].values())
    assert shown == (row["categories"] if "0" not in row["gates"] else [0] * len(MAXIMA))
    assert facts["compat"] is True
    assert facts["refuted"] == []


@pytest.mark.parametrize(
    "name", [n for n, row in FILES if row["entries"] == 1] + ["qwen2-5-coder-0-5b-instruct"]
)  # fmt: skip
def test_by_the_seeds_rules_what_could_not_be_pulled_is_blocked_with_0(name):
    result = score(evidence_of(dict(FILES)[name]), model_id=name)
    assert (result.raw_score, result.status) == (0, "BLOCKED")


@pytest.mark.parametrize(
    ("name", "row"), [FILES[0], FILES[4], FILES[-3]], ids=lambda v: v if isinstance(v, str) else ""
)
def test_the_command_gives_the_same_numbers(name, row, tmp_path, capsys):
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps([e.to_dict() for e in evidence_of(row)]), encoding="utf-8")
    assert call(["score", str(path), "--compat", "--json", "--model", name]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["model_id"], facts["raw_score"], facts["grade"]) == (name, row["raw"], row["grade"])
    assert call(["score", str(path), "--compat"]) == 0
    assert f"Raw Score: {row['raw']}/1000" in capsys.readouterr().out
