"""Every recorded output of a real `apr` 0.72.3 is read for what it says, whatever its exit status was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_aprqa.engines.apr_exit_codes import MEANINGS, problem_of
from pytest_aprqa.engines.apr_output import (
    Backend,
    duration_ms,
    json_of,
    parse_chat,
    parse_run,
    parse_text_run,
    speed_of,
)
from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineUnavailable
from pytest_aprqa.engines.process import Finished

LINES = (Path(__file__).parents[1] / "data" / "apr" / "recorded.jsonl").read_text(encoding="utf-8").splitlines()
RECORDED: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in map(json.loads, LINES)}
MODELS = [f"{model}_{file}" for model in ("mini-llama", "mini-qwen2") for file in ("apr", "gguf", "safetensors")]
COMMANDS = {name: entry for name, entry in RECORDED.items() if not name.startswith("serve_")}
WITH_JSON = [name for name, entry in COMMANDS.items() if "--json" in entry["argv"] and entry["exit"] in (0, 5)]


def finished(entry: dict[str, Any]) -> Finished:
    return Finished(tuple(entry["argv"]), entry["exit"], entry["stdout"], entry["stderr"], 0.0)


@pytest.mark.parametrize("model", MODELS)
def test_run_tells_text_new_ids_and_how_many_prompt_tokens(model: str) -> None:
    entry = RECORDED[f"run_{model}"]
    output = parse_run(entry["stdout"])
    assert output.text == json.loads(entry["stdout"])["text"]
    assert output.new_ids is not None
    assert len(output.new_ids) == 8
    # Row 5 and 13 of what the release gets wrong: the same prompt, wrapped in a template or cut in other tokens.
    expected = {"mini-llama_apr": 8, "mini-llama_gguf": 9, "mini-qwen2_apr": 9, "mini-qwen2_gguf": 10}
    assert output.prompt_tokens == expected.get(model, 31)
    assert output.backend == Backend("default", "cpu", False)
    assert output.status == "ok"
    assert output.error is None
    assert output.tokens_per_second == json.loads(entry["stdout"])["tok_per_sec"]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["run_text", "run_trace"])
def test_text_form_holds_the_same_answer_as_json(kind: str, model: str) -> None:
    stdout = RECORDED[f"{kind}_{model}"]["stdout"]
    assert parse_text_run(stdout) == parse_run(RECORDED[f"run_{model}"]["stdout"]).text
    assert duration_ms(stdout) is not None


@pytest.mark.parametrize("model", MODELS)
def test_benchmark_form_tells_a_speed_and_no_text(model: str) -> None:
    stdout = RECORDED[f"run_benchmark_{model}"]["stdout"]
    assert speed_of(stdout) == speed_of(json_of(stdout)) == json_of(stdout)["tok_s"]
    with pytest.raises(EngineError, match="no text"):
        parse_run(stdout)


@pytest.mark.parametrize("model", MODELS)
def test_chat_tells_the_turn_without_banner_prompt_and_farewell(model: str) -> None:
    turn = parse_chat(RECORDED[f"chat_{model}"]["stdout"])
    assert turn.text.startswith("),el" if "llama" in model else "th")
    assert "You:" not in turn.text
    assert turn.tokens == (None if model.endswith("gguf") else 8)
    assert turn.backend == Backend("cpu", "cpu", False)


@pytest.mark.parametrize("name", WITH_JSON)
def test_json_of_every_command_is_found(name: str) -> None:
    entry = COMMANDS[name]
    if entry["stdout"].strip():
        assert json_of(entry["stdout"])
    else:
        assert entry["exit"] == 5
        with pytest.raises(EngineError, match="no JSON"):
            json_of(entry["stdout"])


@pytest.mark.parametrize("kind", ["bench", "profile_ci"])
@pytest.mark.parametrize("model", MODELS)
def test_speeds_of_bench_and_profile_are_found(kind: str, model: str) -> None:
    speed = speed_of(json_of(RECORDED[f"{kind}_{model}"]["stdout"]))
    assert speed is not None
    # The release measures nothing on SafeTensors and says 0: a reader must not take that for "not told".
    assert (speed > 0) == (kind == "bench" or not model.endswith("safetensors"))


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry["exit"] != 0])
def test_every_recorded_failure_has_a_meaning(name: str) -> None:
    entry = COMMANDS[name]
    problem = problem_of(finished(entry), "doing it")
    assert problem is not None
    if entry["exit"] == 101:
        assert isinstance(problem, EngineCrashed)
        assert problem.exit_code == 101
        assert "panicked" in problem.stderr_tail
    else:
        assert MEANINGS[entry["exit"]] in str(problem)
        assert f"exit code {entry['exit']}" in str(problem)
        assert "\n" not in str(problem)


@pytest.mark.parametrize("name", [name for name, entry in COMMANDS.items() if entry["exit"] == 0])
def test_exit_status_0_says_nothing_yet(name: str) -> None:
    assert problem_of(finished(COMMANDS[name]), "doing it") is None


@pytest.mark.parametrize(
    ("status", "backend", "kind"),
    [
        (1, "cpu", EngineError), (2, "gpu", EngineError), (3, "cpu", EngineLoadError), (7, "cpu", EngineLoadError),
        (8, "cpu", EngineError), (9, "cpu", EngineError), (9, "gpu", EngineUnavailable), (10, "cpu", EngineUnavailable),
        (11, "cpu", EngineUnavailable), (12, "gpu", EngineUnavailable), (14, "gpu", EngineUnavailable),
        (15, "gpu", EngineError), (99, "cpu", EngineError), (101, "gpu", EngineCrashed), (-6, "cpu", EngineCrashed),
    ],
)  # fmt: skip
def test_exit_codes_by_the_table(status: int, backend: str, kind: type[Exception]) -> None:
    done = Finished(("apr", "run", "x"), status, "", "error: because", 0.0)
    problem = problem_of(done, "generating", backend=backend)
    assert type(problem) is kind
    if isinstance(problem, EngineCrashed):
        assert problem.signal == (6 if status == -6 else None)


@pytest.mark.parametrize(
    ("stdout", "problem"),
    [
        ("", "no JSON"), ("{", "no JSON"), ("[1]", "no JSON"), ('{"text": 5}', "no text"),
        ('{"text": "a", "tokens": "b"}', "tokens"), ('{"text": "a", "tokens": [1.5]}', "tokens"),
        ('{"text": "a", "tokens": [-1]}', "tokens"), ('{"text": "a", "tokens": [true]}', "tokens"),
    ],
)  # fmt: skip
def test_json_of_another_shape_is_refused_in_one_line(stdout: str, problem: str) -> None:
    with pytest.raises(EngineError, match=problem):
        parse_run(stdout)


def test_json_by_hand_is_taken() -> None:
    fields = json_of('noise\n{"text": "\\u{1b}[0m \\u{1F600}", "value": NaN,\n "line": "a\tb"}\ntrailing')
    assert fields["text"] == "\x1b[0m \U0001f600"
    assert fields["value"] != fields["value"]
    assert json_of('{"first": 1}\n{"last": 2}') == {"last": 2}
    assert json_of('\x1b[32m{"coloured": 1}\x1b[0m') == {"coloured": 1}


def test_text_form_keeps_an_answer_that_looks_like_its_frame() -> None:
    text = "a\n\nOutput:\nb\n\nCompleted in 3s?"
    stdout = f"=== APR Run ===\n\nSource: m\n\nOutput:\n{text}\n\nCompleted in 1.5s (cached)\n"
    assert parse_text_run(stdout) == text
    for broken in ("", "Output:\nx", "Completed in 1s"):
        with pytest.raises(EngineError, match="no `Output:` block"):
            parse_text_run(broken)


def test_chat_of_several_lines_colours_and_failures() -> None:
    frame = "=== Model Chat ===\n\x1b[1mYou:\x1b[0m [2 tokens in 0.1s]\n{}\n\nYou: \nGoodbye!\n"
    assert parse_chat(frame.replace("{}", "Assistant: one\ntwo\n\nthree")).text == "one\ntwo\n\nthree"
    assert parse_chat("You: Assistant: older form\nYou: \nGoodbye!\n").text == "older form"
    for failed in ("[Error: no answer]", "Assistant: [Error: no answer]"):
        with pytest.raises(EngineError, match="no answer"):
            parse_chat(frame.replace("{}", failed))
    with pytest.raises(EngineError, match="apr chat: no answer in"):
        parse_chat("")


@pytest.mark.parametrize(("line", "expected"), [("Completed in 1.23s (cached)", 1230), ("Completed in 15ms", 15)])
def test_durations(line: str, expected: float) -> None:
    assert duration_ms(f"x\n{line}\n") == expected
    assert duration_ms("Completed") is None
