"""The block `hf_parity` is seen to fail on another model and on a corrupted corpus, and to pass on the recorded one."""

from __future__ import annotations

import shutil

import pytest

from tests.cli.test_parity_command import broken, corpus, flip
from tests.plugin.test_gateways_fail import red

__all__ = ["broken", "corpus"]
SELECTED = "golden_corpus or of_transformers"


@pytest.fixture
def failures(project):
    def run(folder, corpus_folder, **block):
        shutil.copytree(corpus_folder, project.path / "corpus")
        hf_parity = {"enabled": True, "corpus": "corpus"} | block
        path = project.write_playbook(local_path=folder, model={"quantizations": ["bf16"]}, hf_parity=hf_parity)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", SELECTED)
        assert len(project.evidence()) == 3
        return {e["gate_id"]: e["reason"] for e in red(project.evidence()).values()}

    return run


def test_the_recorded_model_passes_at_the_strictest_level(failures, corpus, project):
    from tests.plugin.conftest import TINY_MODEL

    assert failures(TINY_MODEL, corpus, tolerance="fp32") == {}
    assert {e["outcome"] for e in project.evidence()} == {"Corroborated"}


def test_another_model_trips_logits_and_tokens(failures, corpus, broken):
    found = failures(broken, corpus)
    assert "2 of 2 prompts" in found["F-HF-PARITY-001"]
    assert "in the corpus, which leads by" in found["F-HFP-002"]


def test_a_corrupted_corpus_fails_once_and_blocks_the_rest(failures, corpus, tmp_path):
    from tests.plugin.conftest import TINY_MODEL

    damaged = shutil.copytree(corpus, tmp_path / "damaged")
    flip(damaged / "185f8db32271fe25.safetensors")
    found = failures(TINY_MODEL, damaged)
    assert list(found) == ["F-HF-PARITY-004"]
    assert "corrupted corpus" in found["F-HF-PARITY-004"]
