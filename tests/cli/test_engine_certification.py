"""`aprqa engines --certify`: one playbook on each engine; scores side by side, verdicts that differ, exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_aprqa.cli.engines import command
from pytest_aprqa.engine_certification import NOT_RUN, EngineCertificate, certify_on, verdict_differences
from pytest_aprqa.evidence.log import EvidenceLog
from pytest_aprqa.evidence.record import Evidence
from pytest_aprqa.models.bundled import bundled_folder

MODEL = bundled_folder() / "models" / "tiny-qwen2"
FAKE_APR = Path(__file__).parents[1] / "engines" / "fake_apr.py"


def certificate(engine, **verdicts):
    return EngineCertificate(
        engine,
        verdicts={item: ("F-X-001" if item[0] == "x" else "F-Y-001", word, "no") for item, word in verdicts.items()},
    )


def test_a_gate_that_holds_on_one_engine_only_is_a_difference():
    one = certificate("torch", x1="Corroborated", x2="Corroborated", y="Falsified", y2="Corroborated")
    other = certificate("apr", x1="Falsified", x2="Crashed", y="Crashed", y2="Skipped")
    (found,) = verdict_differences([one, other])
    assert (found.gate, found.item, found.items, found.reason) == ("F-X-001", "x1", 2, "no")
    assert found.words == {"torch": "Corroborated", "apr": "Falsified"}
    assert list(verdict_differences([one, certificate("llama", z="Falsified")])) == []


def test_score_and_verdicts_come_from_the_evidence_of_the_run(tmp_path):
    asked = []

    def pytest_of(arguments):
        asked.append(arguments)
        folder = Path(arguments[arguments.index("--evidence-dir") + 1])
        folder.mkdir()
        with EvidenceLog(folder / "evidence.jsonl") as log:
            scenario = {"model": {"org": "a", "name": "b"}, "modality": "run", "backend": "cpu", "format": "gguf"}
            log.append(
                Evidence.corroborated(gate_id="G1-LOAD-001", scenario=scenario, node_id="a.playbook.yaml::test_x[c]")
            )
        return 1, ""

    found = certify_on("apr", "p", tmp_path, pytest_of, apr_binary="/bin/apr", engine_url="http://x", limit_s=2.5)
    assert found.verdicts["test_x[c]"][:2] == ("G1-LOAD-001", "Corroborated")
    assert isinstance(found.score, int)
    assert found.status != NOT_RUN
    assert "/bin/apr" in asked[0]
    assert asked[0][asked[0].index("--scenario-timeout") + 1] == "2500"
    assert "http://x" not in asked[0]
    assert json.loads(json.dumps(found.to_json()))["engine"] == "apr"


@pytest.mark.parametrize(
    ("code", "output"), [(4, "noise\nERROR: --apr-binary apr: no such program\n"), (5, "none"), (0, "")]
)
def test_a_run_that_did_not_happen_says_why(tmp_path, code, output):
    found = certify_on("apr", "p", tmp_path, lambda arguments: (code, output), apr_binary="apr", engine_url=None)
    assert found.status == NOT_RUN
    assert found.reason in ("--apr-binary apr: no such program", "none", "pytest ended with 0")


@pytest.mark.slow
def test_the_bundled_model_on_two_engines_is_set_side_by_side(tmp_path):
    """The stand-in answers nonsense: its verdicts differ from torch's."""
    program = tmp_path / "apr"
    program.write_text(f"#!{sys.executable}\n" + FAKE_APR.read_text(encoding="utf-8"), encoding="utf-8")
    program.chmod(0o755)
    words = [str(MODEL / "model.safetensors"), "--engine", "torch", "--engine", "apr", "--apr-binary", str(program)]
    # In that time the stand-in cannot answer 300 draws, each a process: they are skipped.
    words += ["-p", "What is 2+2?", "--certify", "tiny-qwen2-smoke", "--timeout", "20", "-o", str(tmp_path / "out")]
    shown = CliRunner().invoke(command, words)
    assert shown.exit_code == 1, shown.output
    assert "tiny-qwen2-smoke on each engine" in shown.output
    assert "  torch    PROVISIONAL" in shown.output
    assert "  apr      BLOCKED" in shown.output
    assert "Verdicts that differ: " in shown.output
    assert (tmp_path / "out" / "apr" / "evidence.jsonl").is_file()
