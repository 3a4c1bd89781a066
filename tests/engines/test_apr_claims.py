"""What the program says, held against file and source: each claim passes over a sound answer and names a wrong one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aprqa.engines.apr_claims import OF_APR, OF_EVERY_FILE, TOKENS, Claims, check_claims
from pytest_aprqa.engines.apr_output import parse_run
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.apr_tool import Given
from pytest_aprqa.engines.process import Finished
from pytest_aprqa.lifecycle.derive import derive

FOLDER = Path(__file__).parents[1] / "data" / "apr"
LINES = (FOLDER / "recorded.jsonl").read_text(encoding="utf-8").splitlines()
RECORDED: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, LINES)}
PROGRAM = AprProgram(Path("apr"), "0.72.3", None, True, False)


def claims_over(recording: str, *, prompt: int = 9, text: str | None = None, ids: list[int] | None = None) -> Claims:
    """Claims whose `run` is the recording; the tokenizer gives PROMPT ids for the prompt and decodes to TEXT."""
    claims = Claims(PROGRAM, Given(Path("model.apr"), (), None, Path("none")))
    answered = parse_run(RECORDED[recording]["stdout"])
    right = answered.text if text is None else text
    tokenizer = SimpleNamespace(encode=lambda words: [0] * prompt, decode=lambda ids: right)
    served = [0] * prompt + list(answered.new_ids or []) if ids is None else ids
    plain = RECORDED[recording.replace("run_", "run_text_")]
    values = {"answered": answered, "tokenizer": tokenizer, "served": (served, "text", "log")}
    claims.__dict__.update(values)
    claims._run = lambda *words: Finished((), 0, plain["stdout"], "", 0.1)  # type: ignore[method-assign]
    return claims


def test_a_raw_prompt_is_counted_by_the_tokenizer() -> None:
    assert claims_over("run_mini-qwen2_apr").check_run_prompt() is None
    wrapped = claims_over("run_mini-qwen2_safetensors").check_run_prompt()
    assert wrapped == "run: 31 prompt ids for a raw prompt that has 9 (a chat template is around it)"
    cut = claims_over("run_mini-qwen2_gguf").check_run_prompt()
    assert cut == "run: 10 prompt ids for a raw prompt that has 9"


def test_run_and_server_see_the_same_prompt_and_answer_the_same() -> None:
    sound = claims_over("run_mini-qwen2_apr")
    assert (sound.check_serve_prompt(), sound.check_serve_text()) == (None, None)
    other = claims_over("run_mini-qwen2_apr", ids=[0] * (8 + TOKENS))
    assert other.check_serve_prompt() == "one prompt: 9 prompt ids in run, 8 in /generate"
    assert str(other.check_serve_text()).startswith("new ids: run [105, 475, 366, 67], /generate [0, 0, 0, 0]")
    ids, text, _ = sound.served
    sound.__dict__["served"] = (ids, text, "Loading\n  Converting SafeTensors → Q4K (one-time)...\nready")
    assert "another model is served than the file" in str(sound.check_serve_text())


def test_text_is_what_the_ids_decode_to() -> None:
    assert claims_over("run_mini-qwen2_apr").check_decoder() is None
    told = claims_over("run_mini-qwen2_apr", text="\ufffd Iqudafquceiz").check_decoder()
    assert told is not None
    assert told.startswith("byte-level symbols are shown as text: '¬ Iqudafquceiz'")
    claims = claims_over("run_mini-qwen2_apr")
    claims._run = lambda *words: Finished((), 0, "Output:\nother\n\nCompleted in 1.0s", "", 0.1)  # type: ignore[method-assign]
    assert claims.check_decoder() == "run prints 'other', run --json '¬ Iqudafquceiz'"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "validate: 100 points, A+, with 5 of 26 checks"),
        ({"checks_not_implemented": 0}, None),
        ({"total_score": 19, "grade": "F"}, None),
    ],
)
def test_full_marks_need_every_check(changes: dict[str, Any], words: str | None) -> None:
    claims = claims_over("run_mini-qwen2_apr")
    stdout = json.dumps(json.loads(RECORDED["validate_mini-llama_apr"]["stdout"]) | changes)
    claims.ask = lambda *asked: Finished((), 0, stdout, "", 0.1)  # type: ignore[method-assign]
    assert claims.check_validate_counts() == words


@pytest.fixture
def accepting(tmp_path: Path, random_qwen2_folder: Path) -> Any:
    """Claims over a real APR file and a program that accepts the commands it is told to."""

    def make(*commands: str) -> Claims:
        path = derive(random_qwen2_folder, "apr", cache=tmp_path, dtype="f32").path
        (folder := tmp_path / "copies").mkdir()
        claims = Claims(PROGRAM, Given(path, (), None, folder))
        asked: list[Path] = []

        def ask(*words: Any) -> Finished:
            asked.append(Path(words[1]))
            assert Path(words[1]).read_bytes() != path.read_bytes()
            return Finished((), 0 if words[0] in commands else 5, '{"valid": true}', "", 0.1)

        claims.ask = ask  # type: ignore[method-assign]
        return claims

    return make


@pytest.mark.parametrize("name", OF_APR)
def test_what_accepts_a_damaged_copy_is_named(accepting: Any, name: str) -> None:
    told = getattr(accepting("inspect", "run"), f"check_{name.replace('-', '_')}")()
    assert told.startswith("inspect, run accept a file ")


@pytest.mark.parametrize("name", OF_APR)
def test_a_program_that_refuses_damaged_copies_passes(accepting: Any, name: str) -> None:
    assert getattr(accepting(), f"check_{name.replace('-', '_')}")() is None


def test_what_cannot_be_asked_is_no_finding(tmp_path: Path, random_qwen2_folder: Path) -> None:
    program = tmp_path / "apr"
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('error: nothing works')\n", encoding="utf-8")
    program.chmod(0o755)
    broken = AprProgram(program, "0.72.3", None, True, False)
    given = Given(random_qwen2_folder / "model.safetensors", (), random_qwen2_folder, tmp_path)
    results = {result.tool: result for result in check_claims(broken, given, False)}
    assert list(results) == list(OF_EVERY_FILE)
    assert {result.passed for result in results.values()} == {None}
    assert "nothing works" in results["run-prompt"].reason
