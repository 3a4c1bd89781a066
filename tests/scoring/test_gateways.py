import dataclasses

import pytest

from pytest_aprqa.scoring.gateways import evaluate, evaluate_compat, gateway_of, is_crash
from tests.scoring.entries import crashed, failed, passed, skipped, timed_out


def states(evidence, enabled=None) -> dict[str, str]:
    return {result.id: result.state for result in evaluate(evidence, enabled)}


def reason(evidence, gateway: str) -> str:
    text = next(result.failure_reason for result in evaluate(evidence) if result.id == gateway)
    assert text is not None
    return text


def test_without_evidence_nothing_is_evaluated_and_nothing_passed():
    results = evaluate([])
    assert [r.id for r in results] == ["G0", "G1", "G2", "G3", "G4"]
    assert {r.state for r in results} == {"not evaluated"}
    assert {r.passed for r in results} == {None}


@pytest.mark.parametrize(
    ("gateway", "gate_id"),
    [
        ("G0", "G0-INTEGRITY-CONFIG"),
        ("G0", "G0-PULL-001"),
        ("G0", "G0-FORMAT-APR-001"),
        ("G0", "G0-VALIDATE-001"),
        ("G0", "G0-TENSOR-001"),
        ("G0", "G0-LAYOUT-CRITICAL"),
        ("G0", "F-LAYOUT-CONTRACT-002"),
        ("G1", "G1-LOAD-001"),
        ("G2", "G2-BASIC"),
        ("G3", "G3-STABLE"),
        ("G4", "G4-GARBAGE-001"),
    ],
)
def test_each_gateway_passes_fails_and_is_not_evaluated_by_its_ids(gateway, gate_id):
    assert states([passed(gate_id)])[gateway] == "passed"
    assert states([failed(gate_id)])[gateway] == "failed"
    assert states([skipped(gate_id)])[gateway] == "not evaluated"


@pytest.mark.parametrize("gate_id", ["F-LAYOUT-CONTRACT-001", "F-A1-001", "F-G1-001", "G10-X", "G0X"])
def test_other_ids_belong_to_no_gateway(gate_id):
    assert gateway_of(failed(gate_id)) is None


def test_a_declared_gateway_counts_whatever_the_id():
    assert states([failed("F-MINE-001", gateway="G1")])["G1"] == "failed"


def test_a_declaration_cannot_take_an_entry_out_of_the_gateway_of_its_id():
    result = states([failed("G0-INTEGRITY-CONFIG", gateway="G4")])
    assert result["G0"] == "failed"


def test_one_failure_of_many_is_enough_for_g0_g1_and_g2():
    for gate_id in ("G0-VALIDATE-001", "G1-LOAD-001", "G2-BASIC"):
        evidence = [passed(gate_id) for _ in range(99)] + [failed(gate_id)]
        assert states(evidence)[gate_id[:2]] == "failed"


def test_g2_fails_on_a_timeout_of_a_scenario_but_not_on_that_of_another_check():
    assert states([passed("F-A1-001"), timed_out("F-A2-001")])["G2"] == "failed"
    assert states([passed("F-A1-001"), timed_out("F-PERF-001")])["G2"] == "passed"


def test_g2_fails_when_no_scenario_at_all_produced_output():
    silent = [dataclasses.replace(passed(f"F-A{n}-001"), output=" \n") for n in range(1, 7)]
    assert states(silent)["G2"] == "failed"
    assert "none of 6 scenarios produced any output" in reason(silent, "G2")
    assert states([*silent, passed("F-A1-001")])["G2"] == "passed"


def test_g2_is_not_evaluated_when_every_scenario_was_skipped():
    assert states([skipped("F-A1-001"), passed("F-QUAL-001")])["G2"] == "not evaluated"


@pytest.mark.parametrize("gate_id", ["F-A1-001", "F-PERF-001", "G3-STABLE", "G0-VALIDATE-001"])
def test_g3_fails_on_a_crash_anywhere(gate_id):
    assert states([crashed(gate_id), passed("G3-STABLE")])["G3"] == "failed"


@pytest.mark.parametrize(
    ("exit_code", "crash"),
    [(-11, True), (-1, True), (0, False), (1, False), (101, False), (131, False), (133, False), (140, False)]
    + [(code, True) for code in (132, 134, 135, 136, 137, 139)],
)
def test_g3_knows_exit_codes_of_fatal_signals(exit_code, crash):
    assert is_crash(failed("F-A1-001", exit_code=exit_code)) is crash


@pytest.mark.parametrize(
    ("stderr", "crash"),
    [
        ("thread 'main' panicked at src/lib.rs:7", True),
        ("thread 'tokio-runtime-worker' panicked at x", True),
        ("terminated by signal SIGSEGV", True),
        ("Segmentation fault (core dumped)", True),
        ("SIGABRT", True),
        ("Aborted", True),
        ("SIGILL", True),
        ("Illegal instruction", True),
        ("double free or corruption (out)", True),
        ("*** buffer overflow detected ***", True),
        ("*** stack smashing detected ***", True),
        ("the request was not aborted", False),
        ("warning: pre-tokenizer not implemented", False),
        (None, False),
    ],
)
def test_g3_knows_what_a_dying_process_writes(stderr, crash):
    assert is_crash(failed("F-A1-001", stderr=stderr)) is crash
    assert is_crash(passed("F-A1-001", stderr=stderr)) is crash
    assert not is_crash(skipped("F-A1-001", stderr=stderr))


def test_g3_fails_on_a_timeout_of_its_own_check():
    assert states([timed_out("G3-STABLE")])["G3"] == "failed"


def test_g3_is_evaluated_only_when_something_was_generated():
    assert states([passed("G0-VALIDATE-001", output="")])["G3"] == "not evaluated"
    assert states([passed("F-A1-001", output="4")])["G3"] == "passed"
    assert states([passed("F-X-001", output="", generation={"new_ids": [1]})])["G3"] == "passed"


@pytest.mark.parametrize(("rejected", "state"), [(0, "passed"), (10, "passed"), (11, "failed"), (40, "failed")])
def test_g4_fails_above_a_quarter_of_the_judged_outputs(rejected, state):
    evidence = [failed("G4-GARBAGE-001")] * rejected + [passed("G4-GARBAGE-001")] * (40 - rejected)
    assert states(evidence)["G4"] == state


def test_g4_counts_judged_outputs_not_all_evidence():
    evidence = [failed("G4-GARBAGE-001"), passed("G4-GARBAGE-001"), *[passed("F-QUAL-001")] * 100]
    assert states(evidence)["G4"] == "failed"


def test_what_crashed_timed_out_or_was_skipped_was_not_judged_by_g4():
    silent = [crashed("G4-GARBAGE-001"), timed_out("G4-GARBAGE-001"), skipped("G4-GARBAGE-001")]
    assert states(silent)["G4"] == "not evaluated"
    assert states([*silent, passed("G4-GARBAGE-001")])["G4"] == "passed"


def test_g0_names_the_failures_of_the_historical_defect():
    messages = [
        "G0-INTEGRITY-LAYERS: config says 14 layers but tensors have 24",
        "G0-INTEGRITY-HIDDEN: config says hidden_size=4096 but embedding has 896",
        "G0-INTEGRITY-VOCAB: config says vocab_size=896 but embedding has 151936",
    ]
    evidence = [failed(text.split(":")[0], text) for text in messages]
    assert reason(evidence, "G0") == "3 integrity check(s) failed: " + "; ".join(messages)


def test_many_reasons_are_counted_and_three_different_ones_shown():
    evidence = [failed("G0-VALIDATE-001", text) for text in ("a", "a", "a", "b", "c", "d")]
    assert reason(evidence, "G0") == "6 integrity check(s) failed: a; b; c ..."
    assert reason(evidence[:4], "G0") == "4 integrity check(s) failed: a; b"


def test_a_switched_off_gateway_is_neither_passed_nor_failed():
    evidence = [failed("G1-LOAD-001"), failed("G0-VALIDATE-001")]
    assert states(evidence, enabled=["G2"])["G1"] == "switched off"
    assert [r.passed for r in evaluate(evidence, ["G2"]) if r.id == "G1"] == [None]


@pytest.mark.parametrize(
    ("gateway", "state"), [("G0", "not evaluated"), ("G1", "switched off"), ("G4", "switched off")]
)
def test_a_gateway_that_the_playbook_switched_off_is_named_as_such(gateway, state):
    off = dataclasses.replace(
        skipped(f"{gateway}-X-001"), reason=f"gateway {gateway} is switched off by the playbook (gates.x)"
    )
    assert states([passed("F-QUAL-001"), off])[gateway] == state
    assert states([passed("F-QUAL-001"), off, passed(f"{gateway}-X-001")])[gateway] == "passed"
    assert states([passed("F-QUAL-001"), skipped(f"{gateway}-X-001")])[gateway] == "not evaluated"


def test_a_crash_fails_g3_though_the_playbook_switched_it_off():
    off = dataclasses.replace(skipped("G3-STABLE"), reason="gateway G3 is switched off by the playbook")
    assert states([passed("F-A1-001"), off])["G3"] == "switched off"
    assert states([crashed("F-A1-001"), off])["G3"] == "failed"


def test_g0_cannot_be_switched_off():
    assert states([failed("G0-VALIDATE-001")], enabled=[])["G0"] == "failed"


# -- compatibility mode ------------------------------------------------------------------------------------------------


def compat(evidence) -> dict[str, bool | None]:
    return {result.id: result.passed for result in evaluate_compat(evidence)}


def test_compat_passes_gateways_without_evidence():
    assert set(compat([passed("F-QUAL-001")]).values()) == {True}


def test_compat_g0_watches_integrity_only():
    assert compat([failed("G0-PULL-001")])["G0"] is True
    assert compat([failed("G0-INTEGRITY-LAYERS")])["G0"] is False


def test_compat_g3_is_the_outcome_crashed_only():
    assert compat([failed("F-A1-001", exit_code=139)])["G3"] is True
    assert compat([crashed("F-A1-001")])["G3"] is False


@pytest.mark.parametrize(
    ("failures", "total", "ok"), [(10, 40, True), (11, 40, False), (1, 3, False), (1, 4, True), (0, 3, True)]
)
def test_compat_g4_is_a_quarter_of_all_evidence_rounded_down(failures, total, ok):
    evidence = [failed("G4-GARBAGE-001")] * failures + [passed("F-QUAL-001")] * (total - failures)
    assert compat(evidence)["G4"] is ok
