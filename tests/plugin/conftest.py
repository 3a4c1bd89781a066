"""Playbooks over the bundled model, in a temporary folder, run by pytest in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TINY_MODEL = REPOSITORY / "models" / "tiny-qwen2"

SMALL_PLAYBOOK = {
    "name": "small",
    "version": "1.0.0",
    "model": {"hf_repo": "aprqa/tiny-qwen2", "formats": ["safetensors"], "size_category": "tiny"},
    "test_matrix": {
        "modalities": ["run"],
        "backends": ["cpu"],
        "scenario_count": 2,
        "prompts": ["What is 2+2?", "Hello!"],
        "timeout_ms": 60000,
    },
    "failure_policy": "collect_all",
}


@pytest.fixture(scope="session")
def work_cache(tmp_path_factory):
    """One conversion cache for the whole test session."""
    return tmp_path_factory.mktemp("work-cache")


@pytest.fixture
def project(pytester, monkeypatch, work_cache):
    """A temporary project: `write_playbook`, `run`, and readers of the evidence."""
    monkeypatch.setenv("APRQA_CACHE", str(work_cache))
    monkeypatch.setenv("HF_HOME", str(pytester.path / "no-hub-cache"))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("HOME", str(pytester.path))
    return Project(pytester)


class Project:
    def __init__(self, pytester):
        self.pytester = pytester
        self.path = pytester.path

    def write_playbook(self, name="small", local_path=TINY_MODEL, **changes):
        """`changes` are merged into the sections of SMALL_PLAYBOOK: `test_matrix={"prompts": [...]}`."""
        document = json.loads(json.dumps(SMALL_PLAYBOOK)) | {"name": name}
        if local_path is not None:
            document["model"]["local_path"] = str(local_path)
        for section, value in changes.items():
            if isinstance(value, dict) and isinstance(document.get(section), dict):
                document[section].update(value)
            else:
                document[section] = value
        path = self.path / f"{name}.playbook.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        return path

    def run(self, *arguments, timeout=300):
        return self.pytester.runpytest_subprocess(
            "-p", "no:cacheprovider" if "--lf" not in arguments else "cacheprovider", *arguments, timeout=timeout
        )

    def evidence(self, folder="evidence/latest"):
        return json.loads((self.path / folder / "evidence.json").read_text(encoding="utf-8"))

    def outcomes(self, folder="evidence/latest"):
        """(check[id]) -> outcome, from the evidence."""
        return {e["node_id"].split("::", 1)[1]: e["outcome"] for e in self.evidence(folder)}

    def score(self, folder="evidence/latest"):
        return json.loads((self.path / folder / "mqs.json").read_text(encoding="utf-8"))
