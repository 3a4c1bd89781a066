"""report.html holds what the evidence says, hostile text stays text, and only our own script may run."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html

from pytest_aprqa.reporting.html.browser_entries import OBSERVED_LIMIT, TEXT_LIMIT, browser_entries, script_json
from pytest_aprqa.reporting.html.page import report_html
from pytest_aprqa.scoring.falsification import falsification_report
from tests.reporting.attempt_factory import attempt, scored, small_run

OWN_SCRIPTS = 2
ATTACKS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "javascript:alert(1)",
    "\x1b[2J\u202eevil\ud800",
]


def page_of(entries, kill_matrix=None):
    return html.document_fromstring(report_html(entries, scored(entries), kill_matrix))


def data_of(page):
    return json.loads(page.get_element_by_id("data").text)


def test_verdict_first_failure_and_matrix_come_from_the_evidence():
    page = page_of(small_run())
    assert "BLOCKED" in page.get_element_by_id("verdict").text_content()
    failure = page.get_element_by_id("failure").text_content()
    assert "G0-VALIDATE-001" in failure
    assert "1 NaN of 65536" in failure
    assert "convert the model again" in failure
    cells = [cell.text_content().strip() for cell in page.xpath("//table[@class='matrix']//td")]
    assert "0/1 FAIL" in cells
    assert "skip" in cells


def test_the_verdict_has_the_normalized_score_and_what_it_is_good_for():
    """Ten attempts of which one failed mildly: scoring.md 12 wants score, standing and falsification on top."""
    entries = [*(attempt() for _ in range(9)), attempt("Falsified", gate_id="F-QUAL-001", gateway=None)]
    facts = scored(entries).to_dict()
    page = page_of(entries)
    verdict = " ".join(page.get_element_by_id("verdict").text_content().split())
    assert f"Normalized: {facts['normalized_score']:.1f} of 100." in verdict
    assert ("Qualified" if facts["qualifies"] else "Not qualified") in verdict
    assert ("not production ready" in verdict) is not facts["production_ready"]
    assert "10 hypotheses tested: 9 corroborated, 1 falsified, 0 black swans" in verdict
    assert "confidence 59.6 %" in verdict  # Wilson lower bound of 9 of 10, scoring.md 7


@pytest.mark.parametrize(
    ("qualifies", "ready", "said"),
    [
        (True, True, "Qualified, production ready."),
        (True, False, "Qualified, not production ready."),
        (False, False, "Not qualified, not production ready."),
    ],
)
def test_standing_is_that_of_the_score(monkeypatch, qualifies, ready, said):
    """Every combination that a score can have is told in words."""
    entries = [attempt()]
    score = scored(entries)
    facts = score.to_dict() | {"qualifies": qualifies, "production_ready": ready, "normalized_score": 86.3323}
    monkeypatch.setattr(type(score), "to_dict", lambda self: facts)
    verdict = html.document_fromstring(report_html(entries, score)).get_element_by_id("verdict").text_content()
    assert said in verdict
    assert "86.3 of 100" in verdict


def test_the_falsification_table_has_the_numbers_of_the_analysis():
    entries = small_run()
    rows = page_of(entries).xpath("//table[@class='falsification']//tbody/tr")
    found = {row[0].text_content(): row[1].text_content() for row in rows}
    analysis = falsification_report(entries)
    assert found["Hypotheses tested"] == str(analysis.hypotheses_tested) == "3"
    assert found["Falsified"] == str(analysis.falsified) == "2"
    assert found["Inconclusive (skipped or out of time)"] == "1"
    assert found["Gates refuted"] == "2"
    assert found["Black swans (crashes and severe failures)"] == str(analysis.black_swan_count)
    assert found["Confidence (Wilson lower bound, 95 %)"] == "6.1 %"


def test_without_a_score_nothing_is_proven():
    entries = [attempt("Skipped")]
    verdict = page_of(entries).get_element_by_id("verdict").text_content()
    assert "NOT QUALIFIED" in verdict
    assert "nothing was proven" in verdict


def test_same_evidence_same_bytes():
    entries = small_run()
    assert report_html(entries, scored(entries)) == report_html(entries, scored(entries))


@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_text_stays_text_wherever_it_stands(attack):
    entry = attempt(
        "Falsified",
        reason=attack,
        output=attack,
        stderr=attack,
        advice=attack,
        title=attack,
        playbook=attack,
        check=attack,
        gate_id=attack,
        scenario={"prompt": attack, "model": {"org": attack, "name": attack, "variant": None}},
        artifact={"format": attack, "path": attack, "sha256": attack, "origin": attack},
        engine={"name": attack, "version": attack},
        host={"hostname": attack, "os": attack, "cpu": attack},
        observed=[{"name": attack, "value": attack, "limit": attack, "unit": attack, "passed": False}],
    )
    kills = {"defects": [{"name": attack, "verdict": attack, "killed_by": attack, "cause": attack, "origin": attack}]}
    text = report_html([entry], scored([entry]), kills)
    page = html.document_fromstring(text)
    assert len(page.xpath("//script")) == OWN_SCRIPTS
    assert not page.xpath("//img | //iframe | //object | //embed | //base")
    assert not page.xpath("//@*[starts-with(name(), 'on')] | //@style | //@src")
    assert not [link for link in page.xpath("//a/@href") if not link.startswith("#")]
    assert not re.search("[\x1b\u202e\ud800]", text)
    text.encode()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_leaves_the_page_whole(reason, output):
    entry = attempt("Falsified", reason=reason or "x", output=output)
    page = page_of([entry])
    assert len(page.xpath("//script")) == OWN_SCRIPTS
    assert data_of(page)[0].get("output", "") == output
    assert page.xpath("//footer")


def test_policy_allows_exactly_the_pages_own_blocks():
    page = page_of(small_run())
    policy = page.xpath("//meta[@http-equiv]")[0].get("content")
    blocks = [page.xpath("//style")[0].text, page.xpath("//script[not(@type)]")[0].text]
    for text in blocks:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


def test_nothing_is_fetched():
    text = report_html(small_run(), scored(small_run()))
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)


def test_script_json_cannot_end_its_block():
    value = {"a": "</script><!-- &amp; \u2028"}
    text = script_json(value)
    assert not set("<>&") & set(text)
    assert text.isascii()
    assert json.loads(text) == value


def test_long_runs_keep_failures_and_say_what_is_left_out(monkeypatch):
    monkeypatch.setattr("pytest_aprqa.reporting.html.browser_entries.SHOWN_ENTRIES", 3)
    entries = [attempt() for _ in range(4)] + [attempt("Skipped"), attempt("Falsified")]
    kept = browser_entries(entries)
    assert [entry["number"] for entry in kept] == [0, 1, 5]
    page = page_of(entries)
    assert "3 of 6 entries" in page.get_element_by_id("evidence").text_content()


@pytest.mark.parametrize(("length", "whole"), [(TEXT_LIMIT, True), (TEXT_LIMIT + 1, False)])
def test_long_output_is_cut_at_the_limit(length, whole):
    (entry,) = browser_entries([attempt(output="x" * length)])
    assert (entry["output"] == "x" * length) is whole
    assert len(entry["output"]) == TEXT_LIMIT


def test_what_broke_is_the_first_observed_value_and_never_left_out():
    values = [{"name": f"v{number}", "value": 1, "limit": 2, "passed": True} for number in range(OBSERVED_LIMIT)]
    broken = {"name": "broken", "value": 3, "limit": 2, "passed": False}
    (entry,) = browser_entries([attempt("Falsified", observed=[*values, broken])])
    assert entry["observed"][0] == "broken 3 (limit 2)"
    assert len(entry["observed"]) == OBSERVED_LIMIT + 1
    assert entry["observed"][-1] == "... and 1 more in evidence.json"


def test_kill_matrix_of_the_folder_is_shown():
    kills = {
        "defects": [
            {"name": "gguf-norm-zeroed", "verdict": "killed", "killed_by": "F-CONTRACT-I4-001", "cause": "all zero"},
            {"name": "apr-magic", "verdict": "survived", "killed_by": None, "cause": None},
        ],
        "clean": {"tried": 3, "rejected": []},
    }
    text = page_of(small_run(), kills).get_element_by_id("kills").text_content()
    assert "1 of 2 seeded defects" in text
    assert "0 of 3 clean models" in text
    assert "gguf-norm-zeroed" in text


def grid(**changes):
    attack = "<script>alert(1)</script>"
    defect = {"name": attack, "title": attack, "verdict": "killed", "killed_by": "G0-A", "cause": attack, "also": []}
    row = {"gate": "G0-A", "check": "test_a", "kills": [attack]}
    return {
        "defects": [defect],
        "gates": [row],
        "totals": {"killed": 1},
        "clean": {"tried": 1, "rejected": []},
    } | changes


def test_kill_matrix_is_a_picture_of_defects_and_gates_without_a_style_of_its_own():
    page = page_of(small_run(), grid())
    (picture,) = page.xpath("//section[@id='kills']//svg[@aria-label='kill matrix']")
    assert len(picture.xpath(".//circle[@class='kill']")) == 1
    assert not page.xpath("//section//style")
    assert len(page.xpath("//script")) == OWN_SCRIPTS


@pytest.mark.parametrize("change", [{"gates": None}, {"totals": {}}, {"gates": [{}]}, {"gates": [1]}, {"totals": [1]}])
def test_a_kill_matrix_that_is_not_ours_is_shown_as_a_table_alone(change):
    kills = page_of(small_run(), grid(**change)).get_element_by_id("kills")
    assert not kills.xpath(".//svg")
    assert "1 of 1 seeded defects" in kills.text_content()
