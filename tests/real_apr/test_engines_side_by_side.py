"""The bundled model on torch and on the released program, side by side: what they disagree about is named."""

from __future__ import annotations

import json

from click.testing import CliRunner

from pytest_aprqa.cli.engines import command
from tests.real_apr.real_models import TINY_QWEN2
from tests.real_apr.real_program import Apr


def test_a_raw_prompt_has_other_ids_in_the_program_and_a_chat_answer_does_not_end(apr: Apr) -> None:
    words = [str(TINY_QWEN2), "--engine", "torch", "--engine", "apr", "--apr-binary", str(apr.path), "--timeout", "600"]
    told = CliRunner().invoke(command, [*words, "-p", "What is 2+2?", "--json"])
    assert told.exit_code == 1, told.output
    runs = {(run["format"], run["engine"]): run for run in json.loads(told.stdout)}
    assert set(runs) == {(form, engine) for form in ("safetensors", "apr", "gguf") for engine in ("torch", "apr")}
    assert all(run["problem"] is None for run in runs.values())
    for form, prompt_ids in {"safetensors": 31, "apr": 15, "gguf": 15}.items():
        assert runs[form, "torch"]["differences"] == []
        differences = " ".join(runs[form, "apr"]["differences"])
        assert f"raw 'What is 2+2?': prompt ids: 7 in torch (safetensors), {prompt_ids} in apr" in differences
    assert runs["gguf", "apr"]["results"]["chat 0"]["text"] == "4"
    assert "chat 'What is 2+2?': text: '4' in torch" in " ".join(runs["apr", "apr"]["differences"])
