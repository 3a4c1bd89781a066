"""Generators and oracles of `property_tests`: every form of the specification has a meaning, others are refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_aprqa.oracles.code_syntax import judge_code_syntax
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.property_tests import ORACLES, PropertyTest, oracle_of, property_tests, strategy_of

KNOWN_GENERATORS = [
    "arithmetic()", "arithmetic(a: i32, b: i32, op: +|-|*)", "arithmetic(a: 1..10, b: 1..10, op: +)", "code_prompt()",
    "code_prompt(lang: python|rust|…)", "qa_prompt()", "chat_prompt()", "any_prompt()", "any_prompt(seed: fixed)",
]  # fmt: skip
KNOWN_ORACLES = [
    "correct", "correct_answer", "eval(a op b) == parse_int(output)", "valid_syntax", "is_valid_syntax(output, lang)",
    "is_coherent(output)", "coherent_response", "output.len() > 0", "!is_garbage(output)", "output.contains(expected)",
    "run(seed) == run(seed)",
]  # fmt: skip


@pytest.mark.parametrize("generator", KNOWN_GENERATORS)
def test_every_generator_of_the_specification_makes_prompts(generator):
    seen = []

    @settings(max_examples=20, database=None)
    @given(strategy_of(generator))
    def collect(prompt):
        assert isinstance(prompt, str)
        seen.append(prompt)

    collect()
    assert len(set(seen)) > 3


@pytest.mark.parametrize("expression", KNOWN_ORACLES)
def test_every_oracle_of_the_specification_has_a_meaning(expression):
    assert oracle_of(expression) in set(ORACLES.values())


@settings(max_examples=60, database=None)
@given(strategy_of("arithmetic(a: -3..5, b: 7..=8, op: -|*)"))
def test_operands_and_signs_are_those_of_the_generator(prompt):
    match = re.fullmatch(r"What is (-?\d+)([-*])(\d+)\?", prompt)
    assert match is not None, prompt
    assert -3 <= int(match[1]) <= 4
    assert match[3] in ("7", "8")


@settings(max_examples=40, database=None)
@given(strategy_of("code_prompt(lang: python|rust|javascript)"), st.just("x"))
def test_code_prompts_are_prompts_of_code(prompt, answer):
    assert judge_code_syntax(prompt, answer).reason != "the prompt is not code"


@pytest.mark.parametrize(
    "generator",
    [
        "", "arithmetic", "numbers()", "arithmetic(c: 1..2)", "arithmetic(a: 5..5)", "arithmetic(a: one..two)",
        "arithmetic(op: /)", "arithmetic(a)", "code_prompt(lang: cobol)", "code_prompt(size: 3)", "qa_prompt(a: 1)",
        "any_prompt(seeds: 1)", "code_prompt(lang: …)",
    ],
)  # fmt: skip
def test_a_generator_without_a_meaning_is_refused(generator):
    with pytest.raises(PlaybookError, match=r"property_tests\.generator.*has no meaning"):
        strategy_of(generator)


@pytest.mark.parametrize("oracle", ["", "true", "output.len() > 1"])
def test_an_oracle_without_a_meaning_is_refused(oracle):
    with pytest.raises(PlaybookError, match="has no meaning"):
        oracle_of(oracle)


def test_both_forms_of_the_block():
    entry = {"name": "sums", "generator": "arithmetic()", "oracle": "correct"}
    assert property_tests([entry | {"count": 7}]) == [PropertyTest("sums", "arithmetic()", "correct", 7)]
    assert property_tests([entry])[0].count == 100
    (only,) = property_tests({"enabled": True, "cases": 5, "max_shrink_iters": 3})
    assert (only.generator, only.count, only.shrinks, only.chat) == ("any_prompt()", 5, 3, False)
    assert PropertyTest("talk", "chat_prompt()", "correct", 1).chat
    assert property_tests(None) == []
