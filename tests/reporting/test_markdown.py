import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_aprqa.reporting.markdown import FAILURES_PER_CATEGORY, FULL_FALSIFICATIONS, report_markdown
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt, small_run

RENDERER = MarkdownIt("commonmark", {"html": True}).enable("table")
OWN_TAGS = {
    "h1",
    "h2",
    "h3",
    "p",
    "ul",
    "ol",
    "li",
    "strong",
    "code",
    "pre",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
SECTIONS = [
    "Summary",
    "Gateway Checks",
    "Category Scores",
    "Falsifications",
    "Test Results by Category",
    "Penalties Applied",
    "Popperian Analysis",
    "Metadata",
]


def report(entries):
    return report_markdown(entries, score(entries, model_id="example/Tiny-1B"))


def test_the_sections_are_in_the_documented_order():
    text = report(small_run())
    assert text.startswith("# Model Qualification: example/Tiny-1B\n")
    found = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert [name for name in found if name in SECTIONS] == SECTIONS


def test_the_summary_names_score_grade_status_and_counts():
    text = report(small_run())
    assert "**Score:** 0/1000 (0.0 normalized, grade F)" in text
    assert "**Status:** BLOCKED" in text
    assert "**Qualified:** no; production ready: no" in text
    assert "**Corroborated:** 33.3 % of 3 tested, confidence 6.1 %" in text
    assert "**Tests:** 4 (1 Corroborated, 1 Falsified, 1 Skipped, 1 Crashed)" in text


def test_a_gateway_without_evidence_is_not_called_passed():
    row = next(line for line in report([attempt()]).splitlines() if line.startswith("| G1 |"))
    assert "not evaluated" in row


def test_a_falsification_says_found_limit_and_what_to_do():
    text = report(small_run())
    assert "### 1. `G0-VALIDATE-001` (P0) `test_tensor_values_are_sound[gguf]`" in text
    assert "- found: model.gguf: blk.0.attn_q.weight: 1 NaN of 65536 values" in text
    assert "- limit: damaged&#95;tensors" in text or "- limit: damaged_tensors 1 (limit 0)" in text
    assert "- what to do: convert the model again" in text


def test_skips_are_listed_with_their_reason():
    assert "| 1 | no GPU in this machine |" in report(small_run())


def test_a_run_where_everything_was_skipped_is_not_a_run_without_falsification():
    assert "None: nothing was run." in report_markdown([attempt("Skipped")], None)


def test_without_a_score_the_report_says_so():
    text = report_markdown([attempt("Skipped")], None)
    assert "no score" in text
    assert "/1000" not in text


@pytest.mark.parametrize(("failures", "cut"), [(FAILURES_PER_CATEGORY, False), (FAILURES_PER_CATEGORY + 1, True)])
def test_a_category_lists_failures_up_to_the_limit(failures, cut):
    text = report([attempt("Falsified", gate_id="F-A1-001", gateway=None) for _ in range(failures)])
    assert ("- ... and 1 more" in text) is cut


@pytest.mark.parametrize(("failures", "cut"), [(FULL_FALSIFICATIONS, False), (FULL_FALSIFICATIONS + 1, True)])
def test_falsifications_are_described_up_to_the_limit(failures, cut):
    text = report([attempt("Falsified", gate_id="F-A1-001", gateway=None) for _ in range(failures)])
    assert ("... and 1 more, see evidence.json." in text) is cut


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="a `*_[]()<>&|~\\!#@$:/.w\n\t\"'-=+\x1b1", max_size=50))
def test_hostile_text_adds_no_heading_link_tag_or_column(text):
    entry = attempt(
        "Falsified", reason=text, output=text, stderr=text, title=text, advice=text, scenario={"prompt": text}
    )
    markdown = report([entry])
    html = RENDERER.render(markdown)
    assert set(re.findall(r"<([a-z0-9]+)", html)) <= OWN_TAGS
    plain = attempt("Falsified", reason="r", output="o", stderr="e", title="t", advice="a", scenario={"prompt": "p"})
    expected = RENDERER.render(report([plain]))
    for tag in ("<h1", "<h2", "<h3", "<td", "<th"):
        assert html.count(tag) == expected.count(tag)


def test_control_characters_of_an_output_are_visible():
    assert "\\x1b[31m" in report([attempt("Falsified", output="\x1b[31mred")])
    assert "\x1b" not in report([attempt("Falsified", output="\x1b[31mred")])
