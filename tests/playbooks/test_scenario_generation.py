"""Generated scenarios: the full matrix, prompts by seed, and results of calculations that the oracle accepts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_aprqa.oracles.arithmetic import judge_arithmetic
from pytest_aprqa.oracles.code_syntax import language_of
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.prompt_strategies import ARITHMETIC, CODE, EDGE, INSTRUCTION, LONGEST, draw_prompts
from pytest_aprqa.playbooks.scenario_generation import KNOWN, ORACLES, prompts_of, scenarios_of

DRAWN = draw_prompts(150, 7)


def test_the_matrix_is_whole_and_in_order():
    found = list(scenarios_of("Qwen/Q-1B", prompts_of(50, 42, "both"), 42))
    assert len(found) == 900
    assert [found[0][name] for name in ("modality", "backend", "format")] == ["run", "cpu", "gguf"]
    assert [found[50][name] for name in ("modality", "backend", "format")] == ["run", "cpu", "safetensors"]
    assert [found[-1][name] for name in ("modality", "backend", "format")] == ["serve", "gpu", "apr"]
    assert found[17]["id"] == "Q-1B_run_cpu_gguf_0000000000000011"
    assert len({scenario["id"] for scenario in found}) == 900
    assert [scenario["seed"] for scenario in found] == list(range(42, 942))
    assert found[0]["model"] == {"org": "Qwen", "name": "Q-1B", "variant": None}


def test_a_name_without_organisation_is_of_an_unknown_one():
    assert next(scenarios_of("Q-1B", KNOWN[:1], 0))["model"]["org"] == "unknown"


def test_known_prompts_come_first_and_repeat_only_when_asked():
    assert prompts_of(18, 1, "both") == list(KNOWN)
    assert prompts_of(20, 1, "known") == [*KNOWN, *KNOWN[:2]]
    both = prompts_of(40, 1, "both")
    assert both[:18] == list(KNOWN)
    assert len({prompt.text for prompt in both}) == 40
    assert not {prompt.text for prompt in prompts_of(5, 1, "drawn")} <= {prompt.text for prompt in KNOWN}


def test_another_seed_draws_others_and_the_same_seed_the_same():
    assert draw_prompts(150, 7) == DRAWN
    assert draw_prompts(30, 7) == DRAWN[:30]
    assert {prompt.text for prompt in draw_prompts(150, 8)} != {prompt.text for prompt in DRAWN}


def test_the_seed_decides_also_in_another_process_and_folder(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("CONSTANT = 'What is 17+4?'\nNUMBER = 123456\n")
    code = (
        "import sys; sys.path.insert(0, '.'); import sitecustomize;"
        "from pytest_aprqa.playbooks.prompt_strategies import draw_prompts;"
        "print(ascii([prompt.text for prompt in draw_prompts(150, 7)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ascii([prompt.text for prompt in DRAWN])
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".pyc") in (
        ["__pycache__", "sitecustomize.py"],
        ["sitecustomize.py"],
    )


@pytest.mark.parametrize("prompt", [p for p in (*KNOWN, *DRAWN) if p.category == ARITHMETIC], ids=lambda p: p.text)
def test_the_oracle_accepts_the_stated_result_and_no_other(prompt):
    assert judge_arithmetic(prompt.text, f"It is {prompt.expected}.").verdict == "pass"
    assert judge_arithmetic(prompt.text, f"It is {prompt.expected + 1}.").verdict == "fail"


def test_all_kinds_are_drawn_and_bounded():
    kinds = {kind: [p for p in DRAWN if p.category == kind] for kind in (ARITHMETIC, CODE, INSTRUCTION, EDGE)}
    assert all(kinds.values())
    assert set(ORACLES) == set(kinds)
    assert all(language_of(prompt.text) for prompt in kinds[CODE])
    assert all(prompt.expected is None for prompt in DRAWN if prompt.category != ARITHMETIC)
    assert max(len(prompt.text) for prompt in DRAWN) <= LONGEST
    for prompt in DRAWN:
        prompt.text.encode("utf-8")


def test_without_hypothesis_it_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    with pytest.raises(PlaybookError, match=r"Hypothesis: is not installed.*pip install") as raised:
        prompts_of(19, 1, "both")
    assert "\n" not in str(raised.value)
    assert len(prompts_of(19, 1, "known")) == 19
    assert len(prompts_of(18, 1, "both")) == 18
