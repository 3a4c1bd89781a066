from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from pytest_aprqa.reporting.junit import junit_xml
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt, scored, small_run

# The published schema of the Jenkins xunit plugin (MIT licence inside), as carried by pytest's own test suite.
SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent.parent / "data" / "junit-10.xsd"))
OUTCOMES = ("Corroborated", "Falsified", "Skipped", "Timeout", "Crashed")


def document(entries):
    text = junit_xml(entries, scored(entries))
    parsed = etree.fromstring(text.encode("utf-8"))
    SCHEMA.assertValid(parsed)
    return ET.fromstring(text.encode("utf-8"))


def test_four_outcomes_give_four_cases_and_the_right_counts():
    suite = document(small_run())
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }


def test_a_timeout_is_an_error_in_the_counts_as_in_the_case():
    suite = document([attempt("Timeout", duration_ms=2000)])
    assert (suite.get("failures"), suite.get("errors")) == ("0", "1")
    error = suite.find("testcase/error")
    assert error.get("type") == "TimeoutError"
    assert error.get("message") == "Timeout after 2000ms"


def test_a_crash_carries_what_the_engine_said_last():
    error = document([attempt("Crashed", stderr="GGML_ASSERT failed")]).find("testcase/error")
    assert error.get("type") == "CrashError"
    assert "GGML_ASSERT failed" in error.text
    assert "-11" in error.get("message")


def test_a_failure_names_gate_severity_reason_limit_and_output():
    failure = document(small_run()).find("testcase/failure")
    assert failure.get("message") == "model.gguf: blk.0.attn_q.weight: 1 NaN of 65536 values"
    assert failure.get("type") == "AssertionError"
    for line in ("Gate: G0-VALIDATE-001", "Severity: P0", "Reason: model.gguf", "damaged_tensors 1 (limit 0)"):
        assert line in failure.text
    assert "Output: <unk><unk>" in document([attempt("Falsified", output="<unk><unk>")]).find("testcase/failure").text
    assert "Advice: convert the model again" in failure.text


def test_a_pass_names_its_gate_too():
    case = document([attempt()]).find("testcase")
    assert case.find("failure") is None
    assert "Gate: G4-GARBAGE-001" in case.findtext("system-out")
    assert "Severity: P0" in case.findtext("system-out")


def test_a_skip_keeps_its_reason():
    skipped = document([attempt("Skipped", reason="no GPU: driver not found")]).find("testcase/skipped")
    assert skipped.get("message") == "no GPU: driver not found"


def test_cases_are_named_by_playbook_format_check_and_cell():
    case = document([attempt()]).find("testcase")
    assert case.get("classname") == "tiny-mvp.gguf"
    assert case.get("name") == "test_output_is_not_garbage[gguf-cpu-chat]"
    assert case.get("time") == "1.500"


def test_evidence_of_older_tools_is_named_by_its_scenario():
    entry = attempt(node_id=None, check=None, playbook=None)
    case = document([entry]).find("testcase")
    assert case.get("classname") == "example/Tiny-1B.gguf"
    assert case.get("name") == "chat_cpu_gguf_G4-GARBAGE-001"


def test_repeated_names_are_told_apart():
    names = [case.get("name") for case in document([attempt(), attempt(), attempt()]).iter("testcase")]
    assert len(set(names)) == 3
    assert names[1].endswith("#2")


def test_time_is_the_sum_in_seconds_with_three_decimals():
    assert document([attempt(duration_ms=1), attempt(duration_ms=999)]).get("time") == "1.000"
    assert document([attempt(duration_ms=3_600_000)]).get("time") == "3600.000"


def test_the_score_is_in_the_properties():
    entries = [attempt()]
    facts = score(entries, model_id="m").to_dict()
    properties = {p.get("name"): p.get("value") for p in document(entries).iter("property")}
    assert properties["mqs.raw_score"] == str(facts["raw_score"])
    assert properties["mqs.normalized_score"] == f"{facts['normalized_score']:.2f}"
    assert properties["mqs.gateways_passed"] in ("true", "false")


def test_nothing_recorded_is_still_a_valid_document():
    assert document([]).get("tests") == "0"


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(), max_size=80), st.sampled_from(OUTCOMES))
def test_any_output_reason_and_stderr_stay_valid(text, outcome):
    fields = {"reason": text} if outcome in ("Falsified", "Skipped") else {}
    fields |= (
        {"output": text}
        if outcome in ("Corroborated", "Falsified")
        else {"stderr": text}
        if outcome == "Crashed"
        else {}
    )
    suite = document([attempt(outcome, title=text, advice=text, **fields)])
    assert len(suite.findall("testcase")) == 1


@settings(max_examples=60)
@given(
    st.one_of(st.binary(max_size=60).map(lambda data: data.decode("utf-8", "surrogateescape")), st.text(max_size=60))
)
def test_any_byte_in_any_field_stays_valid(text):
    observed = [{"name": text, "value": text, "limit": text, "unit": text, "passed": False}]
    place = {"id": text, "prompt": text, "model": {"org": text, "name": text, "variant": None}}
    said = {"reason": text, "output": text, "title": text, "advice": text, "timestamp": text, "observed": observed}
    names = {"gate_id": text, "playbook": text, "node_id": text, "check": text, "severity": text, "gateway": text}
    machine = {
        "host": {"hostname": text, "os": text, "cpu": text},
        "engine": {"name": text, "version": text, "backend": text, "dtype": text},
        "artifact": {"format": text, "path": text, "sha256": text, "origin": text},
    }
    entry = attempt("Falsified", cell=(text, text, text), scenario=place, **said, **names, **machine)
    suite = document([entry, attempt("Crashed", stderr=text)])
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\x7f", "]]>", "<failure/>", "\x00", '" onload="'])
def test_recorded_control_characters_and_markup_do_not_break_the_document(hostile):
    failure = document([attempt("Falsified", reason=hostile, output=hostile)]).find("testcase/failure")
    assert failure.get("message")
    assert len(list(failure)) == 0
