"""One refuted P0 check of many: every place that says a verdict says the same, and so does the exit code."""

import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.recorder import Recorder
from pytest_aprqa.registry.certification import certified
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.reporting.report_files import write_reports
from pytest_aprqa.reporting.terminal import summary_lines
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt

GATES = (
    "G0-VALIDATE-001", "G1-LOAD-001", "G2-BASIC", "G3-STABLE", "G4-GARBAGE-001",
    "F-PERF-001", "F-EDGE-001", "F-CONV-RT-001", "F-CONTRACT-I4-001",
)  # fmt: skip
SCALED = "blk.0.ffn_down.weight: scaled by about 1.25"


def run_with(severity):
    """Twenty passes of each gate, and one refuted check of the severity."""
    passes = [attempt(gate_id=g, gateway=None, severity="P1", node_id=f"{g}-{n}") for g in GATES for n in range(20)]
    values = attempt(
        "Falsified", reason=SCALED, gate_id="F-CONTRACT-I4-001", gateway=None, severity=severity, node_id="scaled",
        check="test_values_are_preserved", metadata={"tier": "mvp"},
    )  # fmt: skip
    return [*passes, values]


# Severity of the refuted check -> what every place must say.
CASES = {"P0": "BLOCKED", "P1": "CERTIFIED"}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    evidence = run_with(request.param)
    result = score(evidence, model_id="example/Tiny-1B")
    assert result.raw_score == 993  # 20 of 21 of 150, of which F-CONTRACT has the whole category
    write_reports(tmp_path, evidence, result)
    return tmp_path, evidence, result, CASES[request.param]


def other(status):
    return next(word for word in CASES.values() if word != status)


def test_mqs_json_and_the_grade_table(case):
    folder, _, _, status = case
    facts = json.loads((folder / "mqs.json").read_text(encoding="utf-8"))
    assert (facts["status"], facts["raw_score"], facts["grade"]) == (status, 993, "A+")
    assert facts["qualifies"] is facts["production_ready"] is (status == "CERTIFIED")
    assert facts["gateways_passed"] is True


def test_the_summary_in_the_terminal(case):
    _, evidence, result, status = case
    lines = [text for text, _ in summary_lines(evidence, result, 120)]
    assert lines[0].startswith(f"{status}  993/1000")
    because = [line for line in lines if line.startswith("because")]
    assert because == ([f"because    P0 check F-CONTRACT-I4-001 refuted: {SCALED}"] if status == "BLOCKED" else [])


@pytest.mark.parametrize("name", ["report.md", "report.html", "junit.xml"])
def test_each_report(case, name):
    folder, _, _, status = case
    text = (folder / name).read_text(encoding="utf-8")
    assert status in text
    assert other(status) not in text


def test_report_md_and_html_say_why(case):
    folder, _, _, status = case
    for name, words in (("report.md", "**Because:** P0 check"), ("report.html", "<li>P0 check")):
        assert (words in (folder / name).read_text(encoding="utf-8")) is (status == "BLOCKED")


def test_the_row_of_the_registry(case):
    _, evidence, result, status = case
    row = certified(
        RegistryRow.new("example/Tiny-1B"), evidence, result, tier="mvp", threshold=700, scenarios=1,
        when="2026-03-01T10:00:00Z",
    )  # fmt: skip
    tier = "none" if status == "BLOCKED" else "mvp"
    assert (row["status"], row["mqs_score"], row["certified_tier"]) == (status, "993", tier)


def test_the_command_score(case, capsys):
    folder, _, _, status = case
    assert call(["score", str(folder)]) == 0
    text = capsys.readouterr().out
    assert f"Status: {status}" in text
    assert ("Because: P0 check F-CONTRACT-I4-001 refuted" in text) is (status == "BLOCKED")
    assert f"Qualifies: {'false' if status == 'BLOCKED' else 'true'}" in text


def test_the_exit_code_of_a_run(case):
    _, evidence, result, status = case
    recorder = Recorder.__new__(Recorder)
    recorder.evidence, recorder.score = evidence, result
    assert recorder.passes_threshold() is (status == "CERTIFIED")


def test_compatibility_mode_keeps_the_earlier_tools_word(case, capsys):
    folder, _, _, _ = case
    assert call(["score", str(folder), "--compat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "CERTIFIED"


def test_the_certificate(case):
    """Evidence that does not say how many items there were is certified in part at most; blocked is blocked."""
    folder, _, _, status = case
    facts = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert facts["status"] == ("BLOCKED" if status == "BLOCKED" else "PROVISIONAL")
    assert facts["production_ready"] is (status == "CERTIFIED")
    because = f"P0 check F-CONTRACT-I4-001 refuted: {SCALED}"
    assert (because in facts["status_reasons"]) is (status == "BLOCKED")
