"""The provenance gates are seen to pass, to fail and to claim nothing, by the record beside a real model."""

from __future__ import annotations

import hashlib
import json
import shutil

from tests.plugin.conftest import TINY_MODEL
from tests.plugin.test_gateways_fail import red


def test_a_hash_that_does_not_hold_turns_its_rule_red(project):
    folder = project.path / "model"
    shutil.copytree(TINY_MODEL, folder)
    playbook = project.write_playbook(local_path=folder)
    project.run(f"--playbook={playbook}", "--tb=no", "-q", "-k", "provenance")
    assert {e["outcome"] for e in project.evidence()} == {"Skipped"}
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    source = {"format": "safetensors", "path": "model.safetensors", "sha256": digest}
    (folder / ".provenance.json").write_text(json.dumps({"source": source, "derived": []}))
    project.run(f"--playbook={playbook}", "--tb=no", "-q", "-k", "provenance")
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}
    (folder / ".provenance.json").write_text(json.dumps({"source": source | {"sha256": "0" * 64}, "derived": []}))
    project.run(f"--playbook={playbook}", "--tb=no", "-q", "-k", "provenance")
    (failure,) = red(project.evidence()).values()
    assert failure["gate_id"] == "PROV-006"
    assert "Hash mismatch for" in failure["reason"]
    assert digest in failure["reason"]
