"""report.sarif keeps the rules of SARIF 2.1.0 for the properties that it uses, and those of code scanning."""

from __future__ import annotations

import json
import re

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.reporting.sarif import report_sarif
from tests.reporting.attempt_factory import attempt, small_run


def closed(properties, *required):
    """An object with these properties and no other: SARIF 2.1.0 allows none that it does not name."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEXT = {"type": "string", "minLength": 1}
BAG = {"type": "object", "additionalProperties": {"type": "string"}}
MESSAGE = closed({"text": TEXT}, "text")
LOCATION = closed(
    {
        "physicalLocation": closed(
            {
                "artifactLocation": closed({"uri": {"type": "string", "pattern": r"^[A-Za-z0-9._~%-]+$"}}, "uri"),
                "region": closed({"startLine": {"type": "integer", "minimum": 1}}, "startLine"),
            },
            "artifactLocation",
        )
    }
)
RESULT = closed(
    {
        "ruleId": TEXT,
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": MESSAGE,
        "locations": {"type": "array", "items": LOCATION, "minItems": 1},
        "partialFingerprints": BAG,
        "properties": BAG,
    },
    "message",
)
RULE = closed({"id": TEXT, "shortDescription": MESSAGE}, "id")
DRIVER = closed({"name": TEXT, "rules": {"type": "array", "items": RULE, "uniqueItems": True}}, "name")
RUN = closed(
    {"tool": closed({"driver": DRIVER}, "driver"), "results": {"type": "array", "items": RESULT}}, "tool", "results"
)
LOG = closed(
    {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": RUN, "minItems": 1},
    },
    "version",
    "runs",
)


def results_of(entries):
    document = json.loads(report_sarif(entries))
    jsonschema.Draft202012Validator(LOG).validate(document)
    (run,) = document["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    return run["results"]


@pytest.mark.parametrize("entries", [[], [attempt()], small_run(), [attempt("Timeout"), attempt("Falsified")]])
def test_every_run_keeps_the_rules_of_the_format(entries):
    assert len(results_of(entries)) == sum(entry.outcome.failed for entry in entries)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(), max_size=60), st.sampled_from(["Falsified", "Crashed", "Timeout"]))
def test_any_text_keeps_the_rules_of_the_format(text, outcome):
    named = {"artifact": {"format": text, "path": f"/models/{text}", "sha256": "", "origin": "derived"}}
    entry = attempt(outcome, gate_id=text or "x", title=text, playbook=text, check=text, advice=text, **named)
    assert len(results_of([entry])) == 1


def test_a_finding_has_the_same_fingerprint_in_another_run_and_another_one_elsewhere():
    prints = [
        results_of([attempt("Falsified", **change)])[0]["partialFingerprints"]["aprqaAttempt/v1"]
        for change in ({"reason": "one"}, {"reason": "two"}, {"cell": ("apr", "cpu", "chat")}, {"gate_id": "F-A-001"})
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_folders_of_the_machine_stay_out():
    entry = attempt("Falsified", artifact={"format": "gguf", "path": "/models/secret/a b.gguf", "sha256": "ab"})
    assert not re.search("secret|models", report_sarif([entry]))
    assert "a%20b.gguf" in report_sarif([entry])
