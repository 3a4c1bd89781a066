"""Rules of a row, and what a run does to it."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_aprqa.playbooks.tiers import parse_tier
from pytest_aprqa.registry.certification import (
    PROVENANCE_GATES,
    certified,
    scenario_counts,
    speeds_of,
    tier_not_met,
)
from pytest_aprqa.registry.row import COLUMNS, RegistryRow
from pytest_aprqa.suite.test_provenance import RULES
from tests.reporting.attempt_factory import attempt, scored

WHEN = "2026-03-01T10:00:00+00:00"


def sound():
    return RegistryRow.new("Org/M-1.5B").changed(
        status="CERTIFIED", mqs_score="914", g1="true", g2="true", g3="true", g4="true"
    )


def test_columns_are_twenty_in_the_order_of_the_seed():
    assert len(COLUMNS) == 20
    assert COLUMNS[4:8] == ("status", "mqs_score", "grade", "certified_tier")


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("model_id", "a/b", "a/b/c"),
        ("status", "PARTIAL", "certified"),
        ("mqs_score", "1000", "1001"),
        ("mqs_score", "0", "-1"),
        ("certified_tier", "none", "full"),
        ("g3", "true", "yes"),
        ("tps_st_gpu", "0", "-0.1"),
        ("tps_st_cpu", "", "fast"),
        ("provenance_verified", "TRUE", ""),
    ],
)
def test_each_rule_has_a_value_that_breaks_it(column, good, bad):
    row = RegistryRow.new("Org/M-1.5B")
    assert row.changed(**{column: good}).problems() == []
    (problem,) = row.changed(**{column: bad}).problems()
    assert problem.startswith(f"{column}: ")


def test_certified_needs_its_gateways():
    assert sound().problems() == []
    assert sound().changed(g2="false").problems() == ["status: CERTIFIED although a gateway is not true"]


def test_unknown_columns_are_refused():
    with pytest.raises(KeyError, match="colour"):
        sound().changed(colour="red")


def full_run():
    gates = [("G0", "G0-VALIDATE-001"), ("G1", "G1-LOAD-001"), ("G2", "G2-BASIC"), ("G3", "G3-STABLE"), ("G4", "G4-X")]
    entries = [attempt(gateway=gateway, gate_id=gate) for gateway, gate in gates]
    others = ("F-QUAL-001", "F-PERF-001", "F-STAB-001", "F-COMP-001", "F-EDGE-001", "F-REGR-001")
    return entries + [attempt(gateway=None, gate_id=gate) for gate in others]


def after(row, entries, tier="mvp", threshold=700, scenarios=1):
    return certified(row, entries, scored(entries), tier=tier, threshold=threshold, scenarios=scenarios, when=WHEN)


def test_a_passing_run_is_recorded_by_gateway_id():
    row = after(RegistryRow.new("Org/M-1.5B"), full_run())
    assert [row[name] for name in ("g1", "g2", "g3", "g4")] == ["true"] * 4
    assert (row["mqs_score"], row["status"], row["certified_tier"]) == ("1000", "CERTIFIED", "mvp")
    assert row["last_certified"] == WHEN
    assert row.problems() == []


def test_a_failed_g0_blocks_although_it_has_no_column():
    entries = [attempt("Falsified", gateway="G0", gate_id="G0-VALIDATE-001"), *full_run()[1:]]
    row = after(sound().changed(certified_tier="deep"), entries)
    assert (row["status"], row["mqs_score"], row["grade"], row["certified_tier"]) == ("BLOCKED", "0", "F", "none")
    assert [row[name] for name in ("g1", "g2", "g3", "g4")] == ["true"] * 4


@pytest.mark.parametrize(("threshold", "tier"), [(1000, "deep"), (1001, "none")])
def test_tier_is_proven_only_at_its_threshold(threshold, tier):
    assert after(RegistryRow.new("a/b"), full_run(), tier="deep", threshold=threshold)["certified_tier"] == tier


@pytest.mark.parametrize(
    ("old", "new", "kept"), [("standard", "smoke", "standard"), ("quick", "mvp", "mvp"), ("?", "mvp", "mvp")]
)
def test_a_better_tier_is_never_lowered(old, new, kept):
    assert after(RegistryRow.new("a/b", certified_tier=old), full_run(), tier=new)["certified_tier"] == kept


@pytest.mark.parametrize(("same", "tier", "speeds"), [(True, "standard", "25.5"), (False, "smoke", "")])
def test_what_another_version_of_the_model_has_proven_is_not_kept(same, tier, speeds):
    old = RegistryRow.new("a/b", certified_tier="standard", tps_gguf_cpu="25.5", tps_st_cpu="3.0")
    evidence = [*full_run(), speed(10.0, ("safetensors", "cpu", "run"))]
    asked = {"tier": "smoke", "threshold": 700, "scenarios": 1, "when": WHEN}
    row = certified(old, evidence, scored(evidence), **asked, same_version=same)
    assert (row["certified_tier"], row["tps_gguf_cpu"], row["tps_st_cpu"]) == (tier, speeds, "10.0")


def speed(value, cell):
    metrics = {"tokens_per_second": value, "time_to_first_token_ms": None, "total_tokens": 4, "memory_peak_mb": None}
    return attempt(cell=cell, metrics=metrics)


def test_speeds_are_medians_and_what_was_not_measured_stays():
    entries = [speed(value, ("safetensors", "cpu", "run")) for value in (10.0, 12.0, 50.0)]
    entries += [speed(None, ("gguf", "cpu", "run")), speed(0.0, ("apr", "cpu", "run"))]
    assert speeds_of(entries) == {"tps_st_cpu": 12.0}
    row = after(RegistryRow.new("a/b", tps_gguf_cpu="25.5"), [*full_run(), *entries])
    assert (row["tps_st_cpu"], row["tps_gguf_cpu"], row["tps_apr_cpu"]) == ("12.0", "25.5", "")


def test_without_speeds_a_row_tells_none_an_older_one_neither():
    evidence = [*full_run(), speed(10.0, ("safetensors", "cpu", "run"))]
    old = RegistryRow.new("a/b", tps_gguf_cpu="25.5", tps_st_cpu="3.0")
    asked = {"tier": "mvp", "threshold": 700, "scenarios": 1, "when": WHEN}
    assert certified(old, evidence, scored(evidence), **asked)["tps_st_cpu"] == "10.0"
    row = certified(old, evidence, scored(evidence), **asked, speeds=False)
    assert (row["tps_gguf_cpu"], row["tps_st_cpu"], row["status"]) == ("", "", "CERTIFIED")


def answers(count, outcome="Corroborated", backend="cpu", **changes):
    """COUNT scenarios of one cell, each with an id of its own."""
    return [
        attempt(outcome, cell=("gguf", backend, "run"), scenario={"id": f"{backend}-{number}"}, **changes)
        for number in range(count)
    ]


def no_gpu(count):
    return answers(count, "Skipped", "gpu", metadata={"skipped_by": "check"})


@pytest.mark.parametrize(("count", "tier"), [(169, "none"), (170, "standard")])
def test_a_tier_needs_as_many_scenarios_as_it_asks_for(count, tier):
    entries = [*answers(count), *without_cell()]
    row = after(RegistryRow.new("a/b"), entries, tier="standard", scenarios=170)
    assert (row["status"], row["certified_tier"]) == ("CERTIFIED", tier)
    words = "169 scenarios ran, the tier asks for 170" if tier == "none" else None
    assert tier_not_met(entries, scored(entries), threshold=700, scenarios=170) == words


def without_cell():
    """The passing run, of which no entry is a scenario: what is asked of a file has no prompt."""
    return [attempt(gate_id=e.gate_id, gateway=e.gateway, scenario={"prompt": None}) for e in full_run()]


@pytest.mark.parametrize("gateway", ["G0", "G1", "G2", "G3", "G4"])
def test_a_gateway_of_which_nothing_ran_earns_no_tier(gateway):
    entries = [entry for entry in full_run() if entry.gateway != gateway]
    assert after(RegistryRow.new("a/b"), entries)["certified_tier"] == "none"
    told = tier_not_met(entries, scored(entries), threshold=700, scenarios=1)
    assert told == f"nothing that ran says whether {gateway} holds"


def test_checks_without_a_cell_are_no_scenarios():
    assert after(RegistryRow.new("a/b"), without_cell(), tier="deep", scenarios=1)["certified_tier"] == "none"


@pytest.mark.parametrize(
    ("entries", "count"),
    [
        (answers(3) + answers(3, "Falsified"), (3, 0)),  # the same three, judged by two checks
        (answers(3) + no_gpu(4), (3, 4)),
        (no_gpu(9), (0, 9)),
        (answers(3) + answers(3, "Skipped", "gpu"), (3, 0)),  # somebody left them out
        (answers(3) + answers(3, "Skipped", metadata={"skipped_by": "check"}), (3, 0)),  # they ran in another check
    ],
)
def test_what_counts_as_a_scenario(entries, count):
    assert scenario_counts(entries) == count


@pytest.mark.parametrize(
    ("ran", "skipped", "tier"), [(17, 0, "none"), (17, 17, "none"), (18, 0, "mvp"), (18, 18, "mvp")]
)
def test_what_was_not_run_earns_no_tier(ran, skipped, tier):
    """Skipped gpu scenarios beside as many that ran on the cpu: the tier of 18 is met by 18 that ran, not by 17."""
    entries = [*answers(ran), *no_gpu(skipped), *without_cell()]
    wanted = parse_tier("mvp")
    row = after(RegistryRow.new("a/b"), entries, tier="mvp", scenarios=wanted.scenarios)
    assert (row["status"], row["certified_tier"]) == ("CERTIFIED", tier)
    told = tier_not_met(entries, scored(entries), threshold=700, scenarios=wanted.scenarios)
    more = " (17 more were skipped)" if skipped else ""
    assert told == (f"17 scenarios ran, the tier asks for 18{more}" if tier == "none" else None)


@pytest.mark.parametrize(("shard", "tier"), [("1/4", "none"), ("1/1", "deep")])
def test_a_part_of_a_run_proves_no_tier(shard, tier):
    from pytest_aprqa.evidence.collection_record import collection_digest, name_of

    entries = [dataclasses.replace(entry, node_id=f"p::{n}") for n, entry in enumerate(full_run())]
    told = {"collection_sha256": collection_digest(map(name_of, entries)), "collection_items": str(len(entries))}
    entries = [dataclasses.replace(entry, metadata=told | {"shard": shard}) for entry in entries]
    points = scored(entries)
    assert (points.raw_score, points.qualifies) == (1000, tier == "deep")
    assert after(RegistryRow.new("a/b"), entries, tier="deep", threshold=900)["certified_tier"] == tier


def provenance(outcome="Corroborated", rules=RULES):
    """The rules of the record hold, but the last has OUTCOME."""
    outcomes = ["Corroborated"] * (len(rules) - 1) + [outcome]
    return [attempt(o, gate_id=rule, gateway=None) for o, rule in zip(outcomes, rules, strict=True)]


def test_the_rules_of_provenance_are_those_that_the_suite_checks():
    assert set(RULES) == PROVENANCE_GATES


@pytest.mark.parametrize("before", ["true", "false"])
@pytest.mark.parametrize(
    ("entries", "verified"),
    [
        (provenance(), "true"),
        (provenance("Falsified"), "false"),
        (provenance("Skipped"), "false"),
        (provenance(rules=RULES[:-1]), "false"),
        ([*provenance(), *provenance("Falsified")], "false"),
        ([], "false"),
    ],
)
def test_provenance_is_what_this_run_proved(before, entries, verified):
    row = after(RegistryRow.new("a/b", provenance_verified=before), [*full_run(), *entries])
    assert row["provenance_verified"] == verified
