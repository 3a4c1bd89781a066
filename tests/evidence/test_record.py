import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import DEEPEST, EMPTY_METRICS, Evidence, canonical_json, plain
from pytest_aprqa.evidence.validation import validate

SCENARIO = {"id": "S-1", "model": {"org": "example", "name": "tiny"}, "modality": "run", "prompt": "What is 2+2?"}
COMMON = {"gate_id": "F-A1-001", "scenario": SCENARIO}
REQUIRED = {"id": "0" * 32, "gate_id": "F-A1-001", "outcome": "Corroborated", "timestamp": "2026-01-31T00:00:00Z"}


def made() -> dict[str, Evidence]:
    return {
        "Corroborated": Evidence.corroborated(**COMMON, output="4", duration_ms=12),
        "Falsified": Evidence.falsified("expected 4", **COMMON, output="5"),
        "Timeout": Evidence.timeout(5000, **COMMON, output="lost"),
        "Crashed": Evidence.crashed(-11, "Segmentation fault", **COMMON, output="lost"),
        "Skipped": Evidence.skipped("no GPU", **COMMON, duration_ms=9, output="lost"),
    }


@pytest.mark.parametrize(
    ("outcome", "reason", "exit_code", "duration_ms", "output"),
    [
        ("Corroborated", "Test passed", 0, 12, "4"),
        ("Falsified", "expected 4", None, 0, "5"),
        ("Timeout", "Timed out after 5000ms", None, 5000, ""),
        ("Crashed", "Process crashed with exit code -11", -11, 0, ""),
        ("Skipped", "no GPU", None, 0, ""),
    ],
)
def test_each_constructor_fills_the_fields_of_its_outcome(outcome, reason, exit_code, duration_ms, output):
    entry = made()[outcome]
    assert entry.outcome is Outcome(outcome)
    assert (entry.reason, entry.exit_code, entry.output) == (reason, exit_code, output)
    assert entry.metrics == EMPTY_METRICS | {"duration_ms": duration_ms}


def test_a_crash_keeps_the_last_words_of_the_process():
    assert made()["Crashed"].stderr == "Segmentation fault"


def test_fail_is_falsified_timeout_and_crashed():
    assert {o.value for o in Outcome if o.failed} == {"Falsified", "Timeout", "Crashed"}


@pytest.mark.parametrize("outcome", [o.value for o in Outcome])
def test_an_entry_comes_back_exactly_and_fits_the_schema(outcome):
    entry = made()[outcome]
    text = canonical_json(entry)
    assert Evidence.from_dict(json.loads(text)) == entry
    assert Evidence.from_dict(entry.to_dict()) == entry
    validate([json.loads(text)])


@given(
    output=st.text(),
    reason=st.text(),
    value=st.one_of(st.floats(), st.integers(), st.text(), st.none(), st.booleans()),
    metadata=st.dictionaries(st.text(), st.text()),
)
def test_any_text_and_any_number_survives_the_log(output, reason, value, metadata):
    observed = [{"name": "value", "value": value}]
    entry = Evidence.falsified(reason, **COMMON, output=output, observed=observed, metadata=metadata)
    line = canonical_json(entry)
    assert line.isascii()
    assert "\n" not in line
    back = Evidence.from_dict(json.loads(line))
    assert (back.output, back.reason, back.metadata) == (output, reason, metadata)
    assert canonical_json(back) == line


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (np.float32(0.5), 0.5),
        (np.float64("nan"), "NaN"),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.array([np.nan]), ["NaN"]),
        (Path("/models") / "a", "/models/a"),
        ({"b", "a"}, ["a", "b"]),
        ((1, (2,)), [1, [2]]),
        ({1: Path("x")}, {"1": "x"}),
        (Decimal("0.1"), "0.1"),
        (Outcome.SKIPPED, "Skipped"),
        (2**1024 - 1, 2**1024 - 1),
        (2**1024, hex(2**1024)),
    ],
)
def test_what_a_check_observes_becomes_json(value, written):
    assert plain(value) == written
    json.dumps(plain(value), allow_nan=False)


def test_a_value_that_contains_itself_does_not_end_the_run():
    loop: list = []
    loop.append(loop)
    text = json.dumps(plain(loop))
    assert text.count("[") == DEEPEST
    assert "nested too deeply" in text


def test_canonical_json_has_sorted_keys():
    values = json.loads(canonical_json(made()["Crashed"]), object_pairs_hook=lambda pairs: [k for k, _ in pairs])
    assert values == sorted(values)


def test_two_entries_have_different_ids():
    assert Evidence.corroborated(**COMMON).id != Evidence.corroborated(**COMMON).id


@pytest.mark.parametrize("name", sorted(REQUIRED))
@pytest.mark.parametrize("change", [None, 5, ""])
def test_a_required_field_that_is_missing_is_named(name, change):
    with pytest.raises(EvidenceError, match=name):
        Evidence.from_dict(REQUIRED | {name: change})
    with pytest.raises(EvidenceError, match=name):
        Evidence.from_dict({key: value for key, value in REQUIRED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outcome", "corroborated"),
        ("outcome", "PASS"),
        ("metrics", "fast"),
        ("metrics", {"duration_ms": "1"}),
        ("metrics", {"duration_ms": -1}),
        ("metrics", {"duration_ms": math.inf}),
        ("metrics", {"duration_ms": True}),
        ("scenario", []),
        ("scenario", {"model": "m"}),
        ("observed", {}),
        ("observed", ["a"]),
        ("metadata", "m"),
        ("reason", 7),
        ("output", ["a"]),
        ("exit_code", "0"),
        ("exit_code", True),
        ("artifact", []),
        ("gateway", 1),
    ],
)
def test_a_field_of_the_wrong_type_is_one_line_with_its_name(name, value):
    with pytest.raises(EvidenceError, match=f"field {name}") as caught:
        Evidence.from_dict(REQUIRED | {name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [None, [], "text", 7])
def test_what_is_no_object_is_refused(values):
    with pytest.raises(EvidenceError, match="not an object"):
        Evidence.from_dict(values)


def test_records_of_the_ancestor_are_read():
    entry = Evidence.from_dict(REQUIRED | {"timestamp": "2026-01-31T00:00:00.123456789Z", "host": None})
    assert (entry.reason, entry.output, entry.observed) == ("", "", [])
    assert entry.host["hostname"] == "unknown"
    assert entry.metrics == EMPTY_METRICS


def test_unknown_fields_are_kept_as_metadata():
    entry = Evidence.from_dict(REQUIRED | {"colour": {"r": 1}, "metadata": {"order": 3}})
    assert entry.metadata == {"colour": '{"r": 1}', "order": "3"}


def test_two_records_share_no_default():
    first, second = Evidence.from_dict(REQUIRED), Evidence.from_dict(REQUIRED)
    assert first.observed is not second.observed
    assert first.host is not second.host
