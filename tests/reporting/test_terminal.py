import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.reporting.hostile_text import columns
from pytest_aprqa.reporting.terminal import FOOTNOTES, summary_lines
from pytest_aprqa.scoring.score import score
from tests.reporting.attempt_factory import attempt, small_run


def lines_of(entries, width=100, **options):
    return [text for text, _ in summary_lines(entries, score(entries, model_id="example/Tiny-1B"), width, **options)]


def text_of(entries, width=100, **options):
    return "\n".join(lines_of(entries, width, **options))


def test_the_first_line_is_the_verdict():
    first = lines_of(small_run())[0]
    assert first.startswith("BLOCKED  0/1000  grade F")
    assert "example/Tiny-1B" in first


def test_counts_name_what_failed_crashed_and_was_skipped():
    assert "1 passed, 1 failed, 1 crashed, 1 skipped" in lines_of(small_run())[1]


def test_the_matrix_shows_each_part_of_each_format():
    text = text_of([*small_run(), attempt(cell=("apr", "cpu", "chat"))])
    header = next(line for line in text.splitlines() if "gguf" in line and "apr" in line)
    assert header.split() == ["gguf", "apr"]
    row = next(line for line in text.splitlines() if line.startswith("cpu chat"))
    assert "1/2 CRASH" in row
    assert "1 pass" in row


def test_a_cell_where_nothing_ran_is_never_called_passed():
    row = next(line for line in lines_of(small_run()) if line.startswith("gpu chat"))
    assert "skip [1]" in row
    assert "pass" not in row
    assert any("[1] no GPU in this machine" in line for line in lines_of(small_run()))


def test_passes_beside_skips_are_both_counted():
    text = text_of([attempt(), attempt(), attempt("Skipped", reason="too slow")])
    assert "2 pass +1 skip [1]" in text


def test_a_backend_that_did_not_run_at_all_takes_one_row():
    entries = [attempt()] + [attempt("Skipped", cell=("gguf", "gpu", m)) for m in ("run", "chat", "serve")]
    gpu = [line for line in lines_of(entries) if line.startswith("gpu")]
    assert len(gpu) == 1
    assert gpu[0].split()[:3] == ["gpu", "(all)", "skip"]


def test_checks_of_the_whole_playbook_have_a_line():
    assert any(
        line.startswith("playbook") and "1 pass" in line for line in lines_of([attempt(cell=(None, None, None))])
    )


@pytest.mark.parametrize(("reasons", "extra"), [(FOOTNOTES, False), (FOOTNOTES + 1, True)])
def test_skip_reasons_are_spelled_out_up_to_the_limit(reasons, extra):
    entries = [attempt()] + [attempt("Skipped", reason=f"reason {n}") for n in range(reasons)]
    assert ("more reasons" in text_of(entries)) is extra


def test_every_gateway_is_named_with_its_verdict():
    text = text_of(small_run())
    line = next(line for line in text.splitlines() if line.startswith("gateways"))
    assert "G0 FAIL" in line
    assert "G3 FAIL" in line
    assert "G1 not evaluated" in line


def test_the_likeliest_cause_is_the_first_failure():
    crash_then_integrity = [small_run()[2], small_run()[1]]
    text = text_of(crash_then_integrity)
    assert "first failure: G0-VALIDATE-001 (P0)\n  item     test_tensor_values_are_sound[gguf]\n" in text
    assert "  and      1 more: G3-STABLE" in text


def test_the_first_failure_says_what_found_limit_and_what_to_do():
    lines = {line[:11].strip(): line[11:] for line in lines_of(small_run(), 120) if line.startswith("  ")}
    assert lines["what"] == "Every tensor is free of NaN."
    assert "1 NaN of 65536" in lines["found"]
    assert lines["limit"] == "damaged_tensors 1 (limit 0)"
    assert lines["do"] == "convert the model again"


def test_artifacts_are_named_once_with_origin_and_engine():
    artifact = {"format": "gguf", "path": "/m/model.gguf", "sha256": "ab" * 32, "origin": "derived"}
    engine = {"name": "torch", "version": "2.9", "backend": "cpu", "dtype": "float32"}
    text = text_of([attempt(artifact=artifact, engine=engine), attempt(artifact=artifact, engine=engine)])
    assert text.count("gguf derived: model.gguf, sha256 abababababab") == 1
    assert text.count("torch 2.9, cpu, float32") == 1


def test_two_engines_are_named_with_the_formats_that_they_ran():
    entries = [
        attempt(artifact={"format": name, "path": name, "origin": "published"}, engine={"name": engine, "version": "1"})
        for name, engine in (("gguf", "llama.cpp"), ("apr", "torch"), ("safetensors", "torch"))
    ]
    lines = lines_of(entries)
    assert any(line.endswith("llama.cpp 1 (gguf)") for line in lines)
    assert any(line.endswith("torch 1 (apr, safetensors)") for line in lines)


@pytest.mark.parametrize("width", range(40, 120, 7))
def test_points_and_gateways_are_never_broken_in_the_middle(width):
    text = text_of(small_run(), width)
    for item in ("G1 not evaluated", "G3 FAIL", "EDGE -/150", "QUAL 0/200"):
        assert item in text


def test_two_playbooks_have_a_matrix_each():
    text = text_of([attempt(), attempt(playbook="other")])
    assert "tiny-mvp" in text
    assert "other" in text


def test_without_a_score_the_matrix_is_still_shown():
    lines = [text for text, _ in summary_lines([attempt("Skipped")], None, 80)]
    assert any("skip [1]" in line for line in lines)
    assert not any("/1000" in line for line in lines)


def test_nothing_recorded_gives_no_line():
    assert summary_lines([], None, 80) == []


@pytest.mark.parametrize("width", [1, 39, 40, 41, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(width):
    hostile = attempt("Falsified", reason="x" * 500 + "日本" * 100, output="y", advice="z " * 300)
    entries = [*small_run(), hostile]
    assert max(columns(line) for line in lines_of(entries, width)) <= max(width, 40)


def test_a_summary_of_a_normal_run_fits_one_screen():
    formats = ("safetensors", "apr", "gguf")
    entries = [attempt(cell=(f, "cpu", m)) for f in formats for m in ("run", "chat", "serve") for _ in range(10)]
    entries += [attempt("Skipped", cell=(f, "gpu", m)) for f in formats for m in ("run", "chat", "serve")]
    assert len(lines_of([*entries, *small_run()], 80)) <= 28


def test_failures_are_red_and_passes_are_green():
    markup = dict(summary_lines(small_run(), score(small_run(), model_id="m"), 100))
    row = next(text for text in markup if text.startswith("cpu chat"))
    assert markup[row].get("red")
    passing = dict(summary_lines([attempt()], None, 100))
    assert any(m.get("green") for m in passing.values())


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(), max_size=80))
def test_hostile_text_cannot_control_the_terminal(text):
    entry = attempt("Falsified", reason=text, title=text, advice=text, scenario={"format": text or "gguf"})
    for line in lines_of([entry], 80, unicode=True):
        assert line.isprintable() or not any(
            ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in line
        )
    assert text_of([entry], 80, unicode=False).isascii()
