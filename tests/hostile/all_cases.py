"""All hostile files in one list, and what is loaded before the first of them is measured."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.models.chat_template import render_chat
from tests.hostile import apr_cases, card_cases, declaration_cases, gguf_cases, safetensors_cases, text_cases
from tests.hostile.case import opened, saved

CASES = [
    *gguf_cases.CASES,
    *safetensors_cases.CASES,
    *apr_cases.CASES,
    *declaration_cases.CASES,
    *text_cases.CASES,
    *card_cases.CASES,
]


def warm_up(folder: Path) -> None:
    """Read a sound file of each kind, so that imports are not counted as memory or time of a hostile one."""
    folder.mkdir()
    path = saved("x.gguf", gguf_cases.good_gguf())(folder)
    opened(path)
    model = declaration_cases.replaced("config.json", lambda document: document)(folder)
    for read in (declaration_cases.read_config, declaration_cases.read_tokenizer, declaration_cases.compare):
        read(model)
    render_chat("x", [])
    card_cases.read(saved("README.md", card_cases.fenced(b"license: mit"))(folder))
    text_cases.read_playbook(
        next(Path(__file__).resolve().parents[2].glob("playbooks/**/tiny-qwen2-mvp.playbook.yaml"))
    )
    text_cases.read_evidence(saved("e.jsonl", b"")(folder))
