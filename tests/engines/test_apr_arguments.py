"""What `apr` is asked: at a temperature no token is left out, which it does unless told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_aprqa.engines.apr_arguments import chat_arguments, run_arguments
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.protocol import GenerationRequest

NEW = AprProgram(
    Path("/apr"),
    "0.72.3",
    None,
    True,
    False,
    {"run": frozenset({"--prompt", "--temperature", "--seed", "--top-k", "--top-p", "--chat"})},
)
OLDER = AprProgram(Path("/apr"), "0.2.0", None, False, False, {"run": frozenset({"--temperature"})})
BARE = AprProgram(Path("/apr"), "0.1.0", None, False, False)


def asked(temperature: float) -> GenerationRequest:
    return GenerationRequest("k", "hello", max_new_tokens=4, temperature=temperature, seed=3)


@pytest.mark.parametrize(
    ("program", "temperature", "expected"),
    [
        (NEW, 0.0, "--temperature 0 --seed 3"),
        (NEW, 0.5, "--temperature 0.5 --top-k 0 --seed 3"),
        (OLDER, 0.5, "--temperature 0.5"),
        (BARE, 0.5, ""),
    ],
)
def test_run_is_told_to_leave_no_token_out(program: AprProgram, temperature: float, expected: str) -> None:
    words = run_arguments(program, Path("/m.apr"), asked(temperature), "cpu")
    assert words[words.index("--json") + 1 :] == expected.split()


@pytest.mark.parametrize(
    ("program", "temperature", "expected"),
    [
        (NEW, 0.0, "--max-tokens 4 --temperature 0"),
        (NEW, 0.5, "--max-tokens 4 --temperature 0.5 --top-p 1"),
        (OLDER, 0.5, ""),
    ],
)
def test_chat_is_told_to_leave_no_token_out(program: AprProgram, temperature: float, expected: str) -> None:
    words = chat_arguments(program, Path("/m.apr"), asked(temperature), "cpu")
    assert words[words.index("--json") + 1 :] == expected.split()
