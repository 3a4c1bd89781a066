import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.evidence.log import EvidenceLog
from pytest_aprqa.reporting.report_files import write_reports
from pytest_aprqa.scoring.score import RULES_VERSION, score
from tests.reporting.attempt_factory import attempt, scored, small_run

START = b'[{"id":"x","gate_id":"G1","outcome":"Crashed","timestamp":"t",'


@pytest.fixture
def folder(tmp_path):
    """A run folder with a log and all reports."""
    log = EvidenceLog(tmp_path / "evidence.jsonl")
    for entry in small_run():
        log.append(entry)
    log.close()
    write_reports(tmp_path, small_run(), scored(small_run()))
    return tmp_path


def test_the_text_has_the_documented_lines_in_order(folder, capsys):
    assert call(["score", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = [
        "=== Model Qualification Score (MQS) ===",
        "Model: example/Tiny-1B",
        "Raw Score: 0/1000",
        "Normalized Score: 0.0/100",
        "Grade: F",
        "Gateways Passed: false",
        "Qualifies: false",
        "Production Ready: false",
        "--- Category Breakdown ---",
        "--- Penalties ---",
        "  GATEWAY: Gateway check failed - score zeroed (-1000 pts)",
    ]
    positions = [next(i for i, line in enumerate(lines) if line.startswith(wanted)) for wanted in expected]
    assert positions == sorted(positions)
    names = [line.split(":")[0].strip() for line in lines[lines.index("--- Category Breakdown ---") + 1 :]]
    assert names[:6] == ["QUAL", "PERF", "STAB", "COMP", "EDGE", "REGR"]


@pytest.mark.parametrize("name", ["", "evidence.jsonl", "evidence.json"])
def test_folder_log_and_array_give_the_numbers_of_the_run(folder, name, capsys):
    assert call(["score", str(folder / name), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((folder / "mqs.json").read_text())


def test_an_object_with_the_key_evidence_is_accepted(folder, capsys):
    path = folder / "export.json"
    path.write_text(json.dumps({"evidence": json.loads((folder / "evidence.json").read_text())}))
    assert call(["score", str(path)]) == 0


def test_the_model_can_be_named(folder, capsys):
    assert call(["score", str(folder), "--model", "other/name"]) == 0
    assert "Model: other/name" in capsys.readouterr().out


def test_compatibility_mode_uses_the_rules_of_the_ancestor(tmp_path, capsys):
    entries = [attempt("Skipped")]
    write_reports(tmp_path, entries, None)
    assert call(["score", str(tmp_path), "--compat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == score(entries, model_id="example/Tiny-1B", compat=True).to_dict()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "nothing"),
        (b"{}", "neither an array"),
        (b"\xff\x00", "is not JSON"),
        (b'[{"id": "x"}]', "gate_id"),
        (b'[{"id":"x","gate_id":"G1","outcome":"Odd","timestamp":"t"}]', "outcome"),
        (START + b'"metrics":"fast"}]', "wrong type"),
        (
            START + b'"metrics":{"duration_ms":"1"}}]',
            "duration_ms",
        ),
        (START + b'"scenario":{"model":"m"}}]', "scenario.model"),
        (START + b'"observed":["a"]}]', "observed"),
        (START + b'"reason":7}]', "reason"),
        (START + b'"artifact":[]}]', "artifact"),
        (b"[" * 100_000, "is not JSON"),
    ],
)
@pytest.mark.parametrize("command", ["score", "report"])
def test_what_is_no_evidence_is_one_line_and_exit_code_1(tmp_path, content, said, command, capsys):
    path = tmp_path / "evidence.json"
    path.write_bytes(content)
    assert call([command, str(path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert said in message


def test_a_folder_without_evidence_says_what_to_name(tmp_path, capsys):
    assert call(["score", str(tmp_path)]) == 1
    assert "name the folder of a run" in capsys.readouterr().err


def test_evidence_that_is_not_there_is_wrong_use(tmp_path):
    assert call(["score", str(tmp_path / "none.json")]) == 2


def test_a_run_that_only_skipped_has_no_score(tmp_path, capsys):
    write_reports(tmp_path, [attempt("Skipped")], None)
    assert call(["score", str(tmp_path)]) == 1
    assert "skipped" in capsys.readouterr().err


def test_a_torn_last_line_is_a_warning(folder, capsys):
    with (folder / "evidence.jsonl").open("a") as stream:
        stream.write('{"id": "x", "gate')
    assert call(["score", str(folder)]) == 0
    assert "torn line" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_replaces_the_first(folder, capsys):
    log = EvidenceLog(folder / "evidence.jsonl")
    for entry in small_run():
        log.append(entry)
    log.close()
    assert call(["score", str(folder), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == json.loads((folder / "mqs.json").read_text())
    assert "4 entries of earlier runs" in shown.err


@pytest.mark.parametrize(
    ("options", "said"), [([], f"Rules: version {RULES_VERSION}"), (["--compat"], "Rules: of the earlier tool")]
)
def test_the_text_names_the_rules(folder, options, said, capsys):
    assert call(["score", str(folder), *options]) == 0
    assert said in capsys.readouterr().out


def test_the_text_says_what_is_proven_when_it_is_less(tmp_path, capsys):
    place = {"cell": (None, None, None), "gateway": None, "severity": "P1"}
    entries = [
        attempt(gate_id="F-EDGE-001", **place),
        attempt("Skipped", gate_id="F-EDGE-001", node_id="b", metadata={"skipped_by": "check"}, **place),
    ]
    write_reports(tmp_path, entries, None)
    assert call(["score", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "Raw Score: 150/1000\n" in shown
    assert "Proven: 75/1000" in shown
    write_reports(tmp_path, entries[:1], None)
    assert call(["score", str(tmp_path)]) == 0
    assert "Proven" not in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--compat"], ["--compat", "--json"], ["--json"]])
def test_empty_evidence_has_no_score_by_any_rules(tmp_path, options, capsys):
    (tmp_path / "evidence.json").write_text("[]")
    assert call(["score", str(tmp_path), *options]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "nothing is proven" in shown.err


def test_older_recorded_evidence_without_our_fields_is_scored(tmp_path, capsys):
    entry = {
        "id": "0" * 32,
        "gate_id": "F-A1-001",
        "outcome": "Corroborated",
        "timestamp": "2026-01-31T00:00:00.000000001Z",
        "scenario": {
            "id": "s",
            "model": {"org": "o", "name": "n"},
            "modality": "run",
            "backend": "cpu",
            "format": "gguf",
        },
        "metrics": {"duration_ms": 12},
        "reason": "Test passed",
    }
    (tmp_path / "evidence.json").write_text(json.dumps([entry]))
    assert call(["score", str(tmp_path), "--compat"]) == 0
    assert "Raw Score: 1000/1000" in capsys.readouterr().out
    assert call(["report", str(tmp_path)]) == 0
