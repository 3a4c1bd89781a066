"""Evidence says whether a check skipped itself or somebody left it out: only the first counts nowhere in the score."""

from __future__ import annotations

CHECKS = """
import pytest

@pytest.mark.gate("F-EDGE-901")
def test_mine_skips_itself(playbook):
    pytest.skip("nothing to look at")

@pytest.mark.gate("F-EDGE-902")
@pytest.mark.skip(reason="nobody looks")
def test_mine_is_marked(playbook):
    assert False

@pytest.mark.gate("F-EDGE-903")
@pytest.mark.skipif(True, reason="never mind")
def test_mine_is_marked_conditionally(playbook):
    assert False

@pytest.mark.gate("F-EDGE-904")
def test_mine_is_stopped_by_a_hook(playbook):
    assert False

@pytest.mark.gate("F-EDGE-905")
def test_mine_passes(playbook):
    pass
"""
CONFTEST = """
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        if "expected_one" in item.name:
            item.add_marker(pytest.mark.skip(reason="fails here"))

def pytest_runtest_setup(item):
    if "stopped_by_a_hook" in item.name:
        pytest.skip("fails here")
"""


def test_a_check_that_skips_itself_is_told_from_one_that_somebody_left_out(project):
    project.write_playbook()
    project.pytester.makepyfile(my_checks=CHECKS)
    project.pytester.makeconftest(CONFTEST)
    selected = "mine or provenance_holds or expected_one"
    project.run("--playbook", "small.playbook.yaml", "--aprqa-checks", "my_checks.py", "-k", selected)
    by = {e["node_id"].split("::", 1)[1].split("[")[0]: e["metadata"].get("skipped_by") for e in project.evidence()}
    assert by == {
        "test_mine_skips_itself": "check",
        "test_mine_is_marked": None,
        "test_mine_is_marked_conditionally": None,
        "test_mine_is_stopped_by_a_hook": None,
        "test_mine_passes": None,
        "test_provenance_holds": "check",
        "test_configuration_is_the_expected_one": None,
    }
    score = project.score()
    assert score["left_out"] == 3  # of the format safetensors nothing ran here: it is outside the scope
    assert score["categories"]["edge"] == 38  # of 150: one of four, the fifth counts nowhere


def test_what_a_halted_run_did_not_reach_was_left_out(project):
    project.write_playbook(failure_policy="fail_fast")
    project.pytester.makepyfile(
        my_checks="import pytest\n\n"
        "@pytest.mark.gate('F-EDGE-901')\ndef test_mine_fails(playbook):\n    assert False\n\n"
        "@pytest.mark.gate('F-EDGE-902')\ndef test_mine_later(playbook):\n    pass\n"
    )
    project.run("--playbook", "small.playbook.yaml", "--aprqa-checks", "my_checks.py", "-k", "mine")
    later = next(e for e in project.evidence() if "test_mine_later" in e["node_id"])
    assert later["outcome"] == "Skipped"
    assert "halted by failure policy" in later["reason"]
    assert "skipped_by" not in later["metadata"]


UNDECODABLE = """
import pytest
from pytest_aprqa.formats.errors import FormatError, UndecodableType
from pytest_aprqa.numerics.limits import limit_for

@pytest.mark.gate("F-EDGE-901", severity="P0")
@pytest.mark.parametrize("which", ["sound", "rare"])
def test_mine_reads_two_files(playbook, which):
    if which == "rare":
        raise UndecodableType("a.gguf", "tensor 'w'", "cannot decode IQ3_S")

@pytest.mark.gate("F-EDGE-902")
def test_mine_asks_for_a_limit(playbook):
    limit_for("IQ2_XXS")

@pytest.mark.gate("F-EDGE-903")
def test_mine_meets_a_broken_file(playbook):
    raise FormatError("a.gguf", "tensor 'w'", "is not in the file")
"""


def test_a_check_that_could_not_decode_leaves_its_gate_unproven(project):
    """It is skipped, but not as one that found nothing to look at: a run with it is never certified."""
    project.write_playbook()
    project.pytester.makepyfile(my_checks=UNDECODABLE)
    project.run("--playbook", "small.playbook.yaml", "--aprqa-checks", "my_checks.py", "-k", "mine")
    entries = {e["node_id"].split("::", 1)[1]: e for e in project.evidence()}
    rare = next(e for name, e in entries.items() if "two_files" in name and e["outcome"] == "Skipped")
    assert rare["reason"] == "not tried: cannot decode IQ3_S (1 tensor), the first is tensor 'w'"
    assert "skipped_by" not in rare["metadata"]
    limit = next(e for name, e in entries.items() if "asks_for_a_limit" in name)
    assert (limit["outcome"], limit["reason"][:33]) == ("Skipped", "not tried: cannot decode IQ2_XXS ")
    assert next(e for name, e in entries.items() if "broken_file" in name)["outcome"] == "Falsified"
    score = project.score()
    assert score["not_evaluated_gates"] == ["F-EDGE-901"], "P0, and one of its two files was not looked at"
    assert score["left_out"] == 2
    assert score["incomplete"]
    assert score["status"] != "CERTIFIED"
