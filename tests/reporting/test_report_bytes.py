"""The fast writers give the bytes of the plain ones: junit.xml as ElementTree writes it, evidence.json as json does."""

from __future__ import annotations

import dataclasses
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.evidence.record import DEEPEST, LARGEST_BITS, plain
from pytest_aprqa.reporting.junit import junit_xml
from pytest_aprqa.reporting.report_files import evidence_json
from tests.reporting.attempt_factory import attempt, scored, small_run

HOSTILE = "a<b>&\"c'\r\n\t]]>\x00\x1b\x7f\u202e\ud800 é"


def by_element_tree(document: str) -> str:
    """The same document, read and written again by ElementTree."""
    root = ET.fromstring(document.encode("utf-8"))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def hostile_run():
    texts = {"reason": HOSTILE, "output": HOSTILE, "title": HOSTILE, "advice": HOSTILE, "node_id": f"a::{HOSTILE}"}
    entries = [attempt(outcome, **texts) for outcome in ("Corroborated", "Falsified", "Skipped", "Timeout", "Crashed")]
    return [*entries, *(dataclasses.replace(e, stderr=HOSTILE) for e in entries)]


@pytest.mark.parametrize("entries", [[], small_run(), hostile_run()], ids=["none", "small", "hostile"])
def test_junit_is_what_element_tree_would_write(entries):
    result = scored(entries) if entries else None
    for score in (result, None):
        document = junit_xml(entries, score)
        assert document == by_element_tree(document)


@given(text=st.text(max_size=40))
def test_any_text_in_junit_is_what_element_tree_would_write(text):
    document = junit_xml([attempt("Falsified", reason=text, output=text, node_id=f"x::{text}")], None)
    assert document == by_element_tree(document)


def by_json(entries) -> str:
    """evidence.json as its description says it: plain values, one field a line."""
    blocks = []
    for entry in entries:
        fields = sorted(entry.to_dict().items())
        lines = [f"    {json.dumps(k)}: {json.dumps(plain(v), sort_keys=True, allow_nan=False)}" for k, v in fields]
        blocks.append("  {\n" + ",\n".join(lines) + "\n  }")
    return "[\n" + ",\n".join(blocks) + "\n]\n" if blocks else "[]\n"


def nested(levels: int):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


class Scalar:
    """What numpy gives, without numpy."""

    def tolist(self):
        return 1.5


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("-inf"), 1e-300, -0.0, True, 2**LARGEST_BITS - 1, 2**LARGEST_BITS, -(2**LARGEST_BITS),
        nested(DEEPEST - 2), nested(DEEPEST - 1), nested(DEEPEST), nested(DEEPEST + 1), Path("a/b"), {"b"},
        (1, 2), Scalar(), {}, [], {"ä": HOSTILE}, "9" * 400, {"x": {"y": [{}, [], None]}}, "[" * 90,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_evidence_json_is_what_json_would_write(value):
    entries = [attempt(observed=[{"name": "n", "value": value}]), attempt(metadata={"v": "1"}), *hostile_run()]
    assert evidence_json(entries) == by_json(entries)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(value=values)
def test_any_value_in_evidence_json_is_what_json_would_write(value):
    entries = [attempt(observed=[{"name": "n", "value": value}])]
    assert evidence_json(entries) == by_json(entries)
