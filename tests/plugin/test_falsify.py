"""`--falsify`: one item for each seeded defect, killed by the suite's own checks; what survives is a failed item."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest

from pytest_aprqa.falsify.record_lies import LIES, RULES_GATE
from pytest_aprqa.suite.test_provenance import RULES

QUICK = "(gguf-tensor-scaled or apr-tensor-renamed or config-layers-wrong or gguf-count-hostile) and not converter"


@pytest.fixture
def falsify(project):
    """Run `--falsify` over the bundled model in three formats, without random models; the result and the matrix."""
    path = project.write_playbook(
        model={"formats": ["safetensors", "gguf", "apr"], "quantizations": ["bf16"]},
        test_matrix={"modalities": ["run", "chat", "serve"], "prompts": ["What is 2+2?", "What is 47+38?"]},
    )

    def run(select, *arguments, clean=0, **changes):
        playbook = project.write_playbook(**changes) if changes else path
        result = project.run(
            f"--playbook={playbook}", "--falsify", f"--falsify-clean={clean}", "-k", select, "-q", *arguments
        )
        written = project.path / "evidence/latest/kill_matrix.json"
        return result, json.loads(written.read_text(encoding="utf-8")) if written.is_file() else None

    return run


def by_name(matrix):
    return {one["name"]: one for one in matrix["defects"]}


def test_defects_are_killed_by_the_gate_that_names_the_cause(falsify, project):
    result, matrix = falsify(QUICK)
    assert result.ret == 0
    result.assert_outcomes(passed=4)
    killed = {name: (one["killed_by"], one["cause"]) for name, one in by_name(matrix).items()}
    gate, cause = killed["gguf-tensor-scaled"]
    assert gate == "F-CONTRACT-I4-001"
    assert "scaled by about 1.25" in cause
    assert killed["apr-tensor-renamed"][0] == "F-CONTRACT-I2-001"
    assert "larger than the file allows" in killed["gguf-count-hostile"][1]
    assert matrix["totals"] == {"killed": 4}
    renamed = by_name(matrix)["apr-tensor-renamed"]
    assert "G0-TENSOR-001" in {one["gate"] for one in renamed["also"]}
    assert all(one["origin"] and one["title"] for one in matrix["defects"])
    assert "aprqa-falsify-" not in json.dumps(matrix["defects"]), "a cause names the place of the copy"
    rows = {row["gate"]: row["kills"] for row in matrix["gates"]}
    assert rows["F-CONTRACT-I4-001"] == ["gguf-tensor-scaled"]
    assert "F-HTTP-002" in matrix["kills_nothing"]
    result.stdout.fnmatch_lines(["F-CONTRACT-I4-001 kills 1", "4 of 4 defects killed by a gate that names *"])
    folder = project.path / "evidence/latest"
    assert ElementTree.parse(folder / "kill_matrix.svg").getroot().tag.endswith("svg")
    assert "kill_matrix.svg" in (folder / "report.md").read_text(encoding="utf-8")
    assert "<svg" in (folder / "report.html").read_text(encoding="utf-8")
    assert not (folder / "mqs.json").exists(), "gates were tried, no model was: there is no score"
    assert "falsify" in folder.resolve().name


def test_faults_of_a_server_cannot_happen_to_a_playbook_that_serves_nothing(falsify):
    result, matrix = falsify("engine-health-says-503", test_matrix={"modalities": ["run"]})
    assert result.ret == 0
    result.assert_outcomes(skipped=1)
    (one,) = matrix["defects"]
    assert (one["verdict"], one["cause"]) == ("not applicable", "the playbook does not ask for serve")
    result.stdout.fnmatch_lines(["not applicable to this model: 1"])


def test_an_unexpected_gate_is_no_kill_and_a_rejected_clean_model_fails(falsify, project):
    (project.path / "severe_checks.py").write_text(
        "import pytest\n\n\n"
        "@pytest.mark.gate('X-SEVERE-001')\n"
        "def test_nothing_is_good_enough(artifact):\n"
        "    if artifact.format == 'gguf':\n"
        "        assert False, 'tensors differ, or so'\n",
        encoding="utf-8",
    )
    result, matrix = falsify(
        "clean-0000 or gguf-tensor-scaled and not converter", "--aprqa-checks=severe_checks.py", clean=1
    )
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    (one,) = matrix["defects"]
    assert one["killed_by"] == "F-CONTRACT-I4-001"
    assert {"gate": "X-SEVERE-001"}.items() <= one["also"][-1].items()
    (rejected,) = matrix["clean"]["rejected"]
    assert rejected["name"] == "clean-0000"
    assert {by["gate"] for by in rejected["rejected_by"]} == {"X-SEVERE-001"}
    result.stdout.fnmatch_lines(["*clean model clean-0000 was rejected by test_nothing_is_good_enough*mend it."])
    result.stdout.fnmatch_lines(["1 of 1 clean models rejected"])


def test_answers_and_engines_are_tried_where_the_files_show_nothing(falsify):
    result, matrix = falsify("gguf-chat-template-raises or engine-ignores-the-token-limit")
    assert result.ret == 0, result.stdout.str()
    defects = by_name(matrix)
    raises = defects["gguf-chat-template-raises"]
    assert raises["killed_by"] == "F-CONTRACT-I5-001"
    assert "G2-BASIC" in {one["gate"] for one in raises["also"]}, "the refused conversation was not seen"
    assert defects["engine-ignores-the-token-limit"]["killed_by"] == "F-EDGE-004"


def test_every_lie_of_a_record_is_refuted_by_its_rule_and_a_true_record_is_accepted(falsify):
    result, matrix = falsify("record")
    assert result.ret == 0, result.stdout.str()
    defects = by_name(matrix)
    assert set(defects) == {f"record-{lie.name}" for lie in LIES}
    for lie in LIES:
        assert defects[f"record-{lie.name}"]["killed_by"] == lie.rule
    (rows,) = [row["kills"] for row in matrix["gates"] if row["gate"] == RULES_GATE]
    assert set(rows) == set(defects)
    assert matrix["clean"]["names"] == ["clean-record"]
    assert not matrix["clean"]["rejected"]
    assert {lie.rule for lie in LIES} == set(RULES), "a rule that no lie breaks"


def test_two_workers_and_junit(falsify, project):
    pytest.importorskip("xdist")
    result, matrix = falsify(QUICK, "-n2", "--junitxml=junit.xml")
    assert result.ret == 0, result.stdout.str()
    assert matrix["totals"] == {"killed": 4}
    cases = ElementTree.parse(project.path / "junit.xml").getroot().iter("testcase")
    assert {case.get("name") for case in cases} == {
        f"falsify[{name}]"
        for name in ("gguf-tensor-scaled", "apr-tensor-renamed", "config-layers-wrong", "gguf-count-hostile")
    }


def test_collection_names_every_defect_and_writes_nothing(falsify, project):
    result, matrix = falsify("gguf", "--collect-only", clean=2)
    assert matrix is None
    result.stdout.fnmatch_lines(["*::falsify[[]clean-gguf]", "*::falsify[[]gguf-tensor-scaled]"])
    result.stdout.no_fnmatch_line("*clean-0000*")
    assert not (project.path / "evidence").exists()


@pytest.mark.parametrize("number", ["-1", "many", "1000000"])
def test_number_of_clean_models_is_a_number(project, number):
    path = project.write_playbook()
    result = project.run(f"--playbook={path}", "--falsify", f"--falsify-clean={number}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--falsify-clean: found '{number}', limit a whole number from 0 to 999999*"])
