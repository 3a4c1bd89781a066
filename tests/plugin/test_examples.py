"""The examples of `examples/` run as their README says."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "own_checks"


def command_of_readme() -> list[str]:
    text = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"```console\n(pytest .*)\n```", text)
    return shlex.split(command)[1:]


def test_own_checks_run_and_are_filed_under_their_gates(project):
    shutil.copytree(EXAMPLE, project.path / "examples" / "own_checks")
    result = project.run(*command_of_readme())
    assert result.ret == 0
    entries = project.evidence()
    by_gate = {}
    for entry in entries:
        by_gate.setdefault(entry["gate_id"], []).append(entry)
    assert sorted(by_gate) == ["F-QUAL-901", "F-QUAL-902"]
    assert [e["scenario"]["format"] for e in by_gate["F-QUAL-901"]] == ["safetensors", "apr", "gguf"]
    assert {e["outcome"] for e in by_gate["F-QUAL-901"]} == {"Corroborated"}
    assert {"name": "hidden_size", "value": 256, "passed": True}.items() <= by_gate["F-QUAL-901"][0]["observed"][
        0
    ].items()


def test_an_own_check_can_fail(project):
    checks = project.path / "checks_larger_tile.py"
    text = (EXAMPLE / "checks_hidden_size.py").read_text(encoding="utf-8")
    checks.write_text(text.replace("TILE = 64", "TILE = 768"), encoding="utf-8")
    playbook = project.write_playbook()
    result = project.run(f"--playbook={playbook}", f"--aprqa-checks={checks}", "-k", "kernel_tile")
    result.assert_outcomes(failed=1)
    (entry,) = project.evidence()
    assert entry["outcome"] == "Falsified"
    assert "hidden_size 256 is not a multiple of 768" in entry["reason"]
