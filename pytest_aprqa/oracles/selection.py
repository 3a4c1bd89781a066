"""Which oracles judge a prompt: those that the playbook configures, and the garbage oracle always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_aprqa.oracles.arithmetic import judge_arithmetic
from pytest_aprqa.oracles.code_syntax import judge_code_syntax
from pytest_aprqa.oracles.composite import combine
from pytest_aprqa.oracles.garbage import judge_garbage
from pytest_aprqa.oracles.golden import judge_golden
from pytest_aprqa.oracles.judgement import Judgement
from pytest_aprqa.oracles.response import judge_response

# Without an `oracles` block these judge, each where it applies.
DEFAULT: tuple[Mapping[str, Any], ...] = ({"type": "arithmetic"}, {"type": "code_syntax"})


class OracleError(ValueError):
    """A playbook configures an oracle that does not exist."""


def judge(
    prompt: str, output: str, configured: Sequence[Mapping[str, Any]] = (), *, truncated: bool = False
) -> list[Judgement]:
    """One judgement per configured oracle, garbage first. `truncated`: the token limit ended the output."""
    oracles = [*(configured or DEFAULT)]
    if not any(o["type"] == "garbage" for o in oracles):
        oracles.insert(0, {"type": "garbage"})
    return [_one(oracle, prompt, output, truncated) for oracle in oracles]


def _one(oracle: Mapping[str, Any], prompt: str, output: str, truncated: bool) -> Judgement:
    kind, config = oracle["type"], dict(oracle.get("config") or {})
    if kind == "garbage":
        return judge_garbage(output, **config)
    if kind == "arithmetic":
        return judge_arithmetic(prompt, output, **config)
    if kind == "code_syntax":
        return judge_code_syntax(prompt, output, truncated=truncated, **config)
    if kind == "response":
        return judge_response(prompt, output, **config)
    if kind == "golden":
        return judge_golden(output, **config)
    if kind == "composite":
        members = [_one(member, prompt, output, truncated) for member in config.get("oracles", [])]
        return combine(members, mode=config.get("mode", "all"))
    raise OracleError(
        f"oracles: unknown type {kind!r}; known: arithmetic, garbage, code_syntax, response, golden, composite"
    )
