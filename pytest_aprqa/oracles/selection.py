"""Which oracles judge a prompt: those that the playbook configures, and the garbage oracle always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_aprqa.oracles.arithmetic import judge_arithmetic
from pytest_aprqa.oracles.code_syntax import judge_code_syntax
from pytest_aprqa.oracles.composite import combine
from pytest_aprqa.oracles.errors import OracleError
from pytest_aprqa.oracles.garbage import judge_garbage
from pytest_aprqa.oracles.golden import judge_golden
from pytest_aprqa.oracles.judgement import Judgement
from pytest_aprqa.oracles.response import judge_response
from pytest_aprqa.oracles.text_cleaning import cleaned

# Without an `oracles` block these judge, each where it applies.
DEFAULT: tuple[Mapping[str, Any], ...] = ({"type": "arithmetic"}, {"type": "code_syntax"})
SETTINGS = {
    "arithmetic": {"tolerance", "answers"},
    "garbage": {"max_repetition_ratio", "min_unique_chars"},
    "code_syntax": {"languages"},
    "response": {"min_relevance", "check_coherence"},
    "golden": {"expected_prefix", "must_contain", "must_not_contain"},
    "composite": {"mode", "oracles"},
}


def judge(
    prompt: str, output: str, configured: Sequence[Mapping[str, Any]] = (), *, truncated: bool = False
) -> list[Judgement]:
    """One judgement per configured oracle, in their order; the garbage oracle goes first when it is not configured.

    Colours and banners are taken off before. `truncated`: the token limit ended the output. OracleError: an unknown
    oracle or setting. At least one judgement is not `skip`, because the garbage oracle always looks.
    """
    oracles = [*(configured or DEFAULT)]
    if not any(oracle.get("type") == "garbage" for oracle in oracles):
        oracles.insert(0, {"type": "garbage"})
    text = cleaned(output)
    return [_one(oracle, prompt, text, truncated) for oracle in oracles]


def _one(oracle: Mapping[str, Any], prompt: str, output: str, truncated: bool) -> Judgement:
    kind, settings = oracle.get("type"), dict(oracle.get("config") or {})
    if kind not in SETTINGS:
        raise OracleError(f"oracles: unknown type {kind!r}; known: {', '.join(SETTINGS)}")
    if unknown := set(settings) - SETTINGS[kind]:
        raise OracleError(
            f"oracles: {kind}: unknown setting {min(unknown)!r}; known: {', '.join(sorted(SETTINGS[kind]))}"
        )
    if kind == "composite":
        members = [_one(member, prompt, output, truncated) for member in settings.get("oracles", [])]
        return combine(members, mode=settings.get("mode", "all"))
    if kind == "garbage":
        return judge_garbage(output, truncated=truncated, **settings)
    if kind == "arithmetic":
        return judge_arithmetic(prompt, output, **settings)
    if kind == "code_syntax":
        return judge_code_syntax(prompt, output, truncated=truncated, **settings)
    if kind == "response":
        return judge_response(prompt, output, **settings)
    return judge_golden(output, **settings)
