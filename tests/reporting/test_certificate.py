"""The certificate: a pure function of evidence and score, valid against its schema, honest about what it leaves out."""

from __future__ import annotations

import json

import pytest

from pytest_aprqa.evidence.collection_record import collection_digest, name_of
from pytest_aprqa.reporting.certificate import (
    REASONS_KEPT,
    CertificateError,
    certificate,
    certificate_text,
    read_certificate,
)
from pytest_aprqa.reporting.certificate_markdown import certificate_markdown
from tests.reporting.attempt_factory import attempt, scored, small_run

DIGEST = "c" * 64
FORMATS = ("safetensors", "apr", "gguf")
GATES = (
    ("G0-VALIDATE-001", "G0"), ("G1-LOAD", "G1"), ("G2-BASIC", "G2"), ("G3-STABLE", "G3"), ("G4-GARBAGE-001", "G4"),
    ("F-PERF-001", None), ("F-STAB-001", None), ("F-COMP-001", None), ("F-EDGE-001", None), ("F-REGR-001", None),
    ("F-QUAL-001", None),
)  # fmt: skip
ENGINE = {"name": "torch", "version": "2.9", "backend": "cpu", "dtype": "float32", "details": {}}


def whole_run(left_out=0, **changes):
    """A run in which everything passed; LEFT_OUT of its items are not recorded."""
    entries = [
        attempt(
            gate_id=gate,
            gateway=gateway,
            check=f"test_{number}",
            engine=ENGINE,
            output="4",
            artifact={"format": fmt, "path": f"/m/model.{fmt}", "sha256": f"{number % 1}{fmt[0]}" * 32,
                      "origin": "published" if fmt == "safetensors" else "derived", "source_sha256": None},
            cell=(fmt, "cpu", "run"),
        )
        for number, (gate, gateway) in enumerate(GATES)
        for fmt in FORMATS
    ]  # fmt: skip
    marks = {
        "collection_sha256": collection_digest(name_of(entry) for entry in entries),
        "collection_items": str(len(entries)),
        "playbook_sha256": "a" * 64,
        "plugin_version": "0.1.0",
        "limits_version": "2/1",
    } | changes
    for entry in entries:
        entry.metadata.update(marks)
    return entries[: len(entries) - left_out]


def issued(entries):
    return certificate(entries, scored(entries), DIGEST)


def read_back(content, tmp_path):
    path = tmp_path / "certificate.json"
    path.write_text(certificate_text(content), encoding="utf-8")
    return read_certificate(path)


def test_a_whole_run_that_passed_is_certified_and_valid(tmp_path):
    content = issued(whole_run())
    assert read_back(content, tmp_path) == content
    assert (content["status"], content["mqs_score"], content["status_reasons"]) == ("CERTIFIED", 1000, [])
    assert content["collection"] == {"found": 33, "expected": 33, "complete": True}
    assert (content["evidence_hash"], content["auditor"]) == (DIGEST, "pytest-aprqa 0.1.0")
    assert content["playbooks"] == [{"name": "tiny-mvp", "sha256": "a" * 64}]
    assert content["rules"]["limits"] == "2/1"
    assert [engine["formats"] for engine in content["engines"]] == [sorted(FORMATS)]
    assert [a["file"] for a in content["artifacts"]] == ["model.apr", "model.gguf", "model.safetensors"]


def test_a_run_that_failed_has_a_certificate_too(tmp_path):
    content = read_back(issued(small_run()), tmp_path)
    assert (content["status"], content["mqs_score"]) == ("BLOCKED", 0)
    assert any("gateway G0 failed" in reason for reason in content["status_reasons"])


def test_one_item_that_is_not_recorded_is_enough_not_to_be_certified():
    content = issued(whole_run(left_out=1))
    assert content["status"] == "PROVISIONAL"
    assert "a part of the playbook: 32 of 33 items are recorded" in content["status_reasons"]
    assert content["mqs_score"] == 1000


def test_evidence_that_does_not_say_how_many_items_there_are_is_not_certified():
    content = issued(whole_run(collection_sha256=""))
    assert content["status"] == "PROVISIONAL"
    assert content["collection"]["complete"] is False


def test_a_part_that_failed_stays_blocked():
    assert issued(small_run())["status"] == "BLOCKED"


@pytest.mark.parametrize(("raw", "score"), [(1000, 170), (0, 0)])
def test_verification_score_is_of_170(raw, score):
    entries = whole_run() if raw else small_run()
    assert issued(entries)["verification_score"] == score


def test_it_is_valid_for_ninety_days_after_the_last_entry():
    content = issued([attempt(timestamp="2026-03-01T10:00:00+00:00"), attempt(timestamp="2026-02-01T10:00:00+00:00")])
    assert (content["certified_at"], content["expires_at"]) == (
        "2026-03-01T10:00:00+00:00",
        "2026-05-30T10:00:00+00:00",
    )


def test_a_time_that_is_none_is_no_reason_to_have_no_report():
    assert issued([attempt(timestamp="yesterday")])["expires_at"] == "unknown"


def test_what_was_not_tested_is_named_with_its_reason_and_place():
    content = issued([attempt(), attempt("Skipped", cell=("gguf", "gpu", "chat"), reason="no GPU")])
    missing = content["not_tested"]
    assert missing["skipped"] == [{"reason": "no GPU", "items": 1, "places": ["gguf-gpu-chat"]}]
    assert {"G0", "G1"} <= set(missing["gateways"])
    assert "perf" in missing["categories"]
    assert content["scope"]["backends"] == {"asked": ["cpu", "gpu"], "tested": ["cpu"]}


@pytest.mark.parametrize(("reasons", "rows"), [(REASONS_KEPT, REASONS_KEPT), (REASONS_KEPT + 1, REASONS_KEPT + 1)])
def test_many_reasons_are_kept_up_to_a_number_and_the_rest_is_counted(reasons, rows):
    skipped = [attempt("Skipped", reason=f"reason {n}", check=f"test_{n}") for n in range(reasons)]
    found = issued([attempt(), *skipped])["not_tested"]["skipped"]
    assert len(found) == rows
    assert sum(row["items"] for row in found) == reasons
    assert (found[-1]["reason"] == "1 further reasons") is (reasons > REASONS_KEPT)


def test_no_folder_and_no_host_name_goes_with_the_release():
    text = certificate_text(issued(whole_run()))
    assert "/m/" not in text
    assert '"here"' not in text


def test_the_same_evidence_gives_the_same_bytes_in_any_order():
    entries = whole_run()
    assert certificate_text(issued(entries)) == certificate_text(issued(entries[::-1]))
    assert certificate_markdown(issued(entries)) == certificate_markdown(issued(entries[::-1]))


def test_the_page_names_verdict_digests_scope_and_what_was_not_tested():
    page = certificate_markdown(
        issued([*whole_run(), attempt("Skipped", reason="no GPU", cell=("gguf", "gpu", "run"))])
    )
    assert "# Certificate: example/Tiny-1B" in page
    assert f"`{DIGEST}`" in page
    assert "- 1 items: no GPU (gguf-gpu-run)" in page
    assert "torch 2.9, cpu, float32 ran apr, gguf, safetensors" in page


def test_hostile_text_cannot_become_markup():
    entry = attempt("Skipped", reason="| x | <script>alert(1)</script> [a](javascript:b)")
    page = certificate_markdown(issued([attempt(), entry]))
    assert "<script" not in page
    assert "](javascript" not in page
    assert all(line.count("|") in (0, 3, 4, 5) for line in page.splitlines())


def break_field(content, name, value):
    return content | {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "2"), ("status", "PARTIAL"), ("mqs_score", 1001), ("mqs_score", "1000"), ("grade", "A++"),
        ("evidence_hash", "xyz"), ("gateways", [{}]), ("artifacts", [{"sha256": "a" * 64}]), ("surprise", 1),
    ],
)  # fmt: skip
def test_a_field_that_breaks_the_schema_is_named(tmp_path, name, value):
    with pytest.raises(CertificateError, match=name if name != "surprise" else "surprise"):
        read_back(break_field(issued(whole_run()), name, value), tmp_path)


@pytest.mark.parametrize("name", sorted(issued(small_run())))
def test_every_field_is_required(tmp_path, name):
    content = issued(small_run())
    del content[name]
    with pytest.raises(CertificateError, match=f"'{name}' is a required property"):
        read_back(content, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"version": "1"}'])
def test_what_is_no_certificate_is_one_line(tmp_path, text):
    path = tmp_path / "certificate.json"
    path.write_text(text)
    with pytest.raises(CertificateError) as caught:
        read_certificate(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_json_is_ascii():
    content = issued([attempt(), attempt("Skipped", reason="\ud800 é")])
    assert json.loads(certificate_text(content).encode("ascii"))["not_tested"]["skipped"][0]["reason"] == "\ud800 é"
