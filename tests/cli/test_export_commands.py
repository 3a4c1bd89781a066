"""export-evidence and export-csv: from run folders to published objects to the rows of the registry."""

from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_aprqa.cli.main import call
from pytest_aprqa.registry.row import RegistryRow
from pytest_aprqa.registry.table import read_registry, update_registry
from pytest_aprqa.reporting.report_files import write_reports
from tests.reporting.attempt_factory import attempt, scored, small_run

GATES = ("G0-INTEGRITY", "G1-MODEL-LOADS", "G2-BASIC-INFERENCE", "G3-STABLE", "G4-GARBAGE-001")


def good_run(**changes):
    """Evidence that passes all gateways, with something in each category."""
    entries = [attempt(gate_id=gate, gateway=gate[:2], node_id=f"p::{gate}", **changes) for gate in GATES]
    return entries + [
        attempt(gate_id=f"F-{name}-001", gateway=None, node_id=f"p::{name}", **changes)
        for name in ("QUAL", "PERF", "STAB", "COMP", "EDGE", "REGR")
    ]


def further_scenarios(count):
    """COUNT scenarios beside the one of `good_run`; the tier mvp asks for 18."""
    return [attempt(node_id=f"p::further{n}", scenario={"id": f"further-{n}"}) for n in range(count)]


def of_model(name, **changes):
    return {"scenario": {"model": {"org": "example", "name": name, "variant": None}}} | changes


@pytest.fixture
def run_folder(tmp_path):
    def made(name, entries):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        write_reports(folder, entries, scored(entries))
        return folder

    return made


def exported(source, target, *arguments):
    return call(["export-evidence", str(source), "-o", str(target), *arguments])


def test_a_run_is_exported_with_what_is_derived(run_folder, tmp_path, capsys):
    folder = run_folder("run", good_run())
    assert exported(folder, tmp_path / "out") == 0
    assert "example/Tiny-1B: " in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "example-tiny-1b.json").read_text())
    assert content["model"] == {
        "hf_repo": "example/Tiny-1B", "family": "unknown", "size": "1b", "format": "safetensors",
    }  # fmt: skip
    assert content["playbook"] == {"name": "tiny-mvp", "version": "1.0.0", "tier": "mvp"}
    assert content["mqs"]["gateway_passed"] is True


def test_options_win_over_what_is_derived_and_known_models_are_known(run_folder, tmp_path, capsys):
    scenario = {"scenario": {"model": {"org": "Qwen", "name": "Qwen2.5-Coder-0.5B-Instruct", "variant": None}}}
    folder = run_folder("run", [attempt(**scenario)])
    assert exported(folder, tmp_path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"]["family"], said["model"]["size"]) == ("qwen-coder", "0.5b")
    options = ["--family", "f", "--size", "7B", "--playbook-name", "mine", "--tier", "full", "--json"]
    assert exported(folder, tmp_path, *options) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["model"]["family"], said["model"]["size"]) == ("f", "7b")
    assert said["playbook"] == {"name": "mine", "version": "1.0.0", "tier": "deep"}


@pytest.mark.parametrize(
    ("entries", "arguments", "code", "words"),
    [
        ([], [], 1, "nothing was run"),
        ([attempt("Skipped")], [], 1, "skipped"),
        (
            [attempt(), attempt(**of_model("Other", node_id="x"))],
            [],
            1,
            "several models: example/Other, example/Tiny-1B",
        ),
        ([attempt()], ["-m", "a/b"], 1, "is evidence of example/Tiny-1B, not of a/b"),
        ([attempt(scenario={"model": None})], [], 1, "names no model; say which with --model"),
        ([attempt(scenario={"model": None})], ["-m", "noslash"], 1, "is not a model id"),
        ([attempt()], ["--tier", "huge"], 2, "Unknown tier: huge"),
    ],
)
def test_evidence_that_proves_nothing_is_not_exported(tmp_path, capsys, entries, arguments, code, words):
    (tmp_path / "evidence.json").write_text(json.dumps([entry.to_dict() for entry in entries]))
    assert exported(tmp_path, tmp_path / "out", *arguments) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_one_model_of_several_is_chosen(tmp_path, capsys):
    entries = [attempt(), attempt("Falsified", **of_model("Other", node_id="x"))]
    (tmp_path / "evidence.json").write_text(json.dumps([entry.to_dict() for entry in entries]))
    assert exported(tmp_path, tmp_path, "-m", "example/Tiny-1B", "--json") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["failed"] == 0


@pytest.fixture
def registry(tmp_path):
    """Two rows; one has words of an older tool and is not of the evidence."""
    path = tmp_path / "models.csv"
    rows = [
        RegistryRow.new("old/Partial-7B", family="old", status="PARTIAL", tps_gguf_cpu="3.5"),
        RegistryRow.new("example/Tiny-1B", family="tiny", size_category="huge", tps_apr_gpu="9.0"),
    ]
    update_registry(path, lambda table: [table.put(row) for row in rows] and None, create=True)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return path


@pytest.mark.parametrize("form", ["run folder", "export", "array"])
def test_rows_come_from_every_form_and_the_others_stay(run_folder, registry, tmp_path, capsys, form):
    folder = run_folder("run", [*good_run(), *further_scenarios(17)]).parent
    if form == "export":
        assert exported(folder / "run", tmp_path / "out") == 0
        folder = tmp_path / "out"
    elif form == "array":
        folder = tmp_path / "array"
        folder.mkdir()
        (folder / "tiny.json").write_bytes((tmp_path / "runs" / "run" / "evidence.json").read_bytes())
    before = registry.read_bytes().splitlines(keepends=True)
    capsys.readouterr()
    assert call(["export-csv", "-e", str(folder), "-o", str(registry)]) == 0
    assert "1 written, 0 kept, 0 not readable" in capsys.readouterr().out
    after = registry.read_bytes().splitlines(keepends=True)
    assert after[:2] == before[:2], "a row of another model changed"
    row = read_registry(registry).rows["example/Tiny-1B"]
    assert (row["status"], row["mqs_score"], row["grade"], row["certified_tier"]) == ("CERTIFIED", "1000", "A+", "mvp")
    assert (row["g1"], row["g4"], row["size_category"], row["tps_apr_gpu"]) == ("true", "true", "huge", "9.0")
    assert row.problems() == []
    assert call(["export-csv", "-e", str(folder), "-o", str(registry), "--append"]) == 0
    assert registry.read_bytes().splitlines(keepends=True) == after, "the same evidence twice is the same registry"


@pytest.mark.parametrize(("further", "tier"), [(16, "none"), (17, "mvp")])
def test_a_tier_is_proven_by_as_many_scenarios_as_it_asks_for(run_folder, tmp_path, further, tier):
    folder = run_folder("run", [*good_run(), *further_scenarios(further)])
    assert call(["export-csv", "-e", str(folder), "-o", str(tmp_path / "models.csv")]) == 0
    row = read_registry(tmp_path / "models.csv").rows["example/Tiny-1B"]
    assert (row["status"], row["certified_tier"]) == ("CERTIFIED", tier)


@pytest.mark.parametrize(("weights", "tier"), [("a" * 64, "mvp"), ("b" * 64, "smoke")])
def test_a_tier_of_older_weights_is_not_that_of_the_younger(run_folder, tmp_path, weights, tier):
    older = {"playbook": "tiny-mvp", "timestamp": "2026-03-01T10:00:00+00:00", "metadata": {"source_sha256": "a" * 64}}
    run_folder("older", [*good_run(**older), *(dataclasses.replace(e, **older) for e in further_scenarios(17))])
    skipped = dict(older, timestamp="2026-03-02T10:00:00+00:00", metadata={"source_sha256": weights})
    (run_folder("between", good_run(**skipped)) / "evidence.json").write_text("[]")  # nothing was recorded
    younger = {
        "playbook": "tiny-smoke",
        "timestamp": "2026-03-03T10:00:00+00:00",
        "metadata": {"source_sha256": weights},
    }
    run_folder("younger", good_run(**younger))
    call(["export-csv", "-e", str(tmp_path / "runs"), "-o", str(tmp_path / "models.csv")])
    assert read_registry(tmp_path / "models.csv").rows["example/Tiny-1B"]["certified_tier"] == tier


def test_overwrite_drops_the_others_and_must_be_said(run_folder, registry, capsys):
    folder = run_folder("run", good_run()).parent
    assert call(["export-csv", "-e", str(folder), "-o", str(registry), "--overwrite", "--append"]) == 2
    assert len(read_registry(registry).rows) == 2
    assert call(["export-csv", "-e", str(folder), "-o", str(registry), "--overwrite"]) == 0
    assert list(read_registry(registry).rows) == ["example/Tiny-1B"]


def test_the_youngest_run_counts_in_whatever_order_they_stand(run_folder, tmp_path):
    run_folder("z-old", good_run(timestamp="2026-01-01T00:00:00Z"))
    run_folder("a-new", small_run())
    path = tmp_path / "models.csv"
    assert call(["export-csv", "-e", str(tmp_path / "runs"), "-o", str(path)]) == 0
    assert read_registry(path).rows["example/Tiny-1B"]["status"] == "BLOCKED"


def test_an_older_run_changes_nothing(run_folder, tmp_path, capsys):
    path = tmp_path / "models.csv"
    run_folder("new", small_run())
    assert call(["export-csv", "-e", str(tmp_path / "runs" / "new"), "-o", str(path)]) == 0
    before = path.read_bytes()
    old = run_folder("old", good_run(timestamp="2026-01-01T00:00:00Z"))
    capsys.readouterr()
    assert call(["export-csv", "-e", str(old), "-o", str(path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["kept"], told["status"]) == (True, "BLOCKED")
    assert path.read_bytes() == before


def test_one_bad_file_is_said_and_the_others_are_written(run_folder, tmp_path, capsys):
    folder = run_folder("run", good_run()).parent
    (folder / "bad.json").write_bytes(b"\xff\xfe")
    (folder / "empty.json").write_text("[]")
    path = tmp_path / "models.csv"
    assert call(["export-csv", "-e", str(folder), "-o", str(path)]) == 1
    shown = capsys.readouterr()
    assert "bad.json: is not JSON" in shown.err
    assert "empty.json: no entry" in shown.err
    assert "1 written, 0 kept, 2 not readable" in shown.out
    assert read_registry(path).rows["example/Tiny-1B"]["status"] == "CERTIFIED"


def test_a_tier_that_nobody_names_is_not_proven(tmp_path):
    (tmp_path / "e").mkdir()
    entries = [entry.to_dict() | {"playbook": "mine"} for entry in good_run()]
    (tmp_path / "e" / "x.json").write_text(json.dumps(entries))
    path = tmp_path / "models.csv"
    assert call(["export-csv", "-e", str(tmp_path / "e"), "-o", str(path)]) == 0
    assert read_registry(path).rows["example/Tiny-1B"]["certified_tier"] == "none"
    assert call(["export-csv", "-e", str(tmp_path / "e"), "-o", str(path), "--tier", "smoke"]) == 0
    assert read_registry(path).rows["example/Tiny-1B"]["certified_tier"] == "smoke"


def test_an_empty_folder_and_a_foreign_registry_are_one_line(run_folder, tmp_path, capsys):
    (tmp_path / "none").mkdir()
    assert call(["export-csv", "-e", str(tmp_path / "none")]) == 1
    assert "no export (*.json) and no run folder here" in capsys.readouterr().err
    run_folder("run", good_run())
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    assert call(["export-csv", "-e", str(tmp_path / "runs"), "-o", str(tmp_path / "x.csv")]) == 1
    assert "is not a registry of models" in capsys.readouterr().err
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,2\n"
