"""Prompts that are not what the file declares turn their check red, with the ids that are too many or missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.test_gateways_fail import red

RAW, CHAT = "test_raw_prompt_is_what_the_file_declares", "test_chat_prompt_is_the_template_once"
# fault -> (gate, check, words of the reason)
CASES = {
    "raw-in-template": ("F-MODALITY-002", RAW, "first different at 0"),
    "raw-in-template-counted": ("F-MODALITY-002", RAW, "prompt ids, the file makes 7"),
    "extra-begin-token": ("F-MODALITY-002", RAW, "the engine has [5] more than the file at 0"),
    "template-twice": ("F-MODALITY-003", CHAT, "in the engine, "),
    "no-template": ("F-MODALITY-003", CHAT, "7 in the engine, 15 in the file, first different at 0"),
    "system-message": ("F-MODALITY-003", CHAT, "the engine has ["),
}


@pytest.fixture
def failures(project, monkeypatch):
    shutil.copy(Path(__file__).with_name("template_faults.py"), project.path)
    monkeypatch.setenv("PYTHONPATH", str(project.path))
    project.pytester.makeconftest("""
        import pytest_aprqa.engines.selection as selection

        selection.engine_for = lambda *arguments, **options: "template_faults:TemplateFaults"
    """)
    path = project.write_playbook(test_matrix={"modalities": ["run", "chat"], "prompts": ["What is 2+2?", "Hello!"]})

    def run(fault):
        monkeypatch.setenv("APRQA_FAULT", fault)
        project.run(f"--playbook={path}", "--tb=short", "-q", "-k", "raw_prompt_is or chat_prompt_is")
        return {e["check"]: e for e in red(project.evidence()).values()}

    return run


@pytest.mark.parametrize("fault", CASES)
def test_a_prompt_of_the_engines_own_making_is_named(failures, fault):
    gate, check, words = CASES[fault]
    found = failures(fault)
    assert list(found) == [check]
    assert found[check]["gate_id"] == gate
    assert words in found[check]["reason"], found[check]["reason"]


def test_prompts_as_declared_are_accepted(failures):
    assert failures("") == {}
