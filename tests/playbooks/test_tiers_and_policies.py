"""Tiers, failure policies, size categories, and the order of precedence of settings."""

import pytest

from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.settings import resolve
from pytest_aprqa.playbooks.size_categories import (
    CATEGORIES,
    COUNT_TOLERANCE,
    RANGES,
    WORKERS,
    billions_in_name,
    capped_workers,
    category_from_name,
    category_of,
    fits,
    fitting,
    range_text,
)
from pytest_aprqa.playbooks.tiers import parse_tier, tiers
from tests.playbooks.playbook_texts import changed, load_data


class TestTiers:
    @pytest.mark.parametrize(
        ("name", "scenarios", "threshold"),
        [("smoke", 1, 700), ("mvp", 18, 700), ("quick", 10, 700), ("standard", 170, 700), ("deep", 1800, 900)],
    )
    def test_matrix_and_threshold(self, name, scenarios, threshold):
        tier = parse_tier(name)
        assert (tier.name, tier.scenarios, tier.threshold) == (name, scenarios, threshold)

    @pytest.mark.parametrize(("text", "name"), [("MVP", "mvp"), (" Deep ", "deep"), ("full", "deep")])
    def test_any_case_and_the_alias(self, text, name):
        assert parse_tier(text).name == name

    @pytest.mark.parametrize("text", ["", "gold", "mvp2"])
    def test_unknown_tier(self, text):
        with pytest.raises(ValueError, match=f"Unknown tier: {text}. Use: smoke, mvp, quick, standard, deep"):
            parse_tier(text)

    @pytest.mark.parametrize(
        ("word", "name"),
        [("mvp", "mvp"), ("ci", "quick"), ("full", "deep"), ("nightly", "standard"), ("Release", "deep")],
    )
    def test_word_that_a_playbook_declares(self, tmp_path, word, name):
        assert load_data(tmp_path, changed({"metadata.tier": word})).tier == name

    def test_a_playbook_may_declare_none_but_not_an_unknown_one(self, tmp_path):
        assert load_data(tmp_path, changed({"metadata.author": "x"})).tier is None
        with pytest.raises(PlaybookError, match=r":\d+:\d+: metadata.tier: Unknown tier: gold; Use: smoke, .* release"):
            load_data(tmp_path, changed({"metadata.tier": "gold"}))
        with pytest.raises(ValueError, match="Unknown tier: ci"):
            parse_tier("ci")

    @pytest.mark.parametrize(
        ("name", "kept"), [("smoke", 3), ("mvp", 36), ("quick", 180), ("standard", 450), ("deep", 1800)]
    )
    def test_part_of_the_largest_matrix(self, tmp_path, name, kept):
        from pytest_aprqa.playbooks.scenarios import expand

        tier = parse_tier(name)
        scenarios = expand(load_data(tmp_path, changed({"test_matrix.scenario_count": 100})))
        reasons = [tier.reason_to_leave_out(s.format, s.backend, s.modality, s) for s in scenarios]
        assert reasons.count(None) == kept >= tier.scenarios

    def test_items_without_a_scenario(self):
        smoke = parse_tier("smoke")
        assert smoke.reason_to_leave_out(None, None, None, None) is None
        assert smoke.reason_to_leave_out("safetensors", None, None, None) is None
        assert smoke.reason_to_leave_out("gguf", None, None, None) == "tier smoke runs safetensors only, not gguf"
        assert "not gpu" in smoke.reason_to_leave_out("safetensors", "gpu", None, None)
        assert "not chat" in smoke.reason_to_leave_out("safetensors", "cpu", "chat", None)
        assert all(t.reason_to_leave_out("gguf", "gpu", "serve", None) is None for t in tiers() if t.name != "smoke")


class TestPolicies:
    @pytest.mark.parametrize("text", ["stop-on-p0", "stop_on_p0", "STOP_ON_P0", " stop-on_p0 "])
    def test_spellings(self, text):
        assert FailurePolicy.parse(text) is FailurePolicy.STOP_ON_P0

    def test_unknown_policy(self):
        with pytest.raises(ValueError, match="Use: stop-on-first, stop-on-p0, collect-all, fail-fast"):
            FailurePolicy.parse("stop-at-noon")

    # A passes, B fails F-A1-001, C fails G2-BASIC, D passes: the worked cases of the specification.
    @pytest.mark.parametrize(
        ("policy", "run"),
        [("stop-on-first", "AB"), ("stop-on-p0", "ABC"), ("collect-all", "ABCD"), ("fail-fast", "AB")],
    )
    def test_worked_cases(self, policy, run):
        done = ""
        for item, failed, gateway in (("A", False, False), ("B", True, False), ("C", True, True), ("D", False, False)):
            done += item
            if failed and FailurePolicy.parse(policy).halts_after(gateway_failed=gateway):
                break
        assert done == run

    def test_only_fail_fast_writes_diagnostics(self):
        assert [p for p in FailurePolicy if p.writes_diagnostics] == [FailurePolicy.FAIL_FAST]


class TestPrecedence:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (("o", "i", "p"), ("o", "option")),
            ((None, "i", "p"), ("i", "ini")),
            ((None, None, "p"), ("p", "playbook")),
            ((None, None, None), ("d", "default")),
            (("", "i", None), ("", "option")),
            ((None, 0, 5), (0, "ini")),
            ((None, False, True), (False, "ini")),
        ],
    )
    def test_order(self, values, expected):
        assert resolve(*values, "d") == expected


class TestSizeCategories:
    @pytest.mark.parametrize(
        ("billions", "category"),
        [
            (0.999, "tiny"), (1, "small"), (4.999, "small"), (5, "medium"), (9.999, "medium"), (10, "large"),
            (29.999, "large"), (30, "xlarge"), (69.999, "xlarge"), (70, "huge"), (1000, "huge"),
        ],
    )  # fmt: skip
    def test_bounds(self, billions, category):
        assert category_of(billions) == category
        assert category in CATEGORIES

    @pytest.mark.parametrize(
        ("name", "billions"),
        [
            ("Qwen2.5-Coder-1.5B-Instruct", 1.5),
            ("SmolLM2-135M", 0.135),
            ("Mixtral-8x7B-v0.1", 56),
            ("Qwen3-30B-A3B", 30),
            ("CodeLlama-7b-Instruct-hf", 7),
            ("phi-4", None),
            ("Phi-4-mini-instruct", None),
            ("tiny-qwen2", None),
            ("stablelm-2-zephyr-1_6b", 1.6),
            ("internlm2_5-7b-chat", 7),
            ("starcoder_7b", 7),
            ("gpt2b", None),
            ("", None),
        ],
    )
    def test_size_token_of_a_name(self, name, billions):
        assert billions_in_name(name) == billions

    def test_category_of_a_name(self):
        assert category_from_name("Llama-3.3-70B-Instruct") == "huge"
        assert category_from_name("phi-4") is None

    @pytest.mark.parametrize("category", CATEGORIES)
    def test_bounds_of_what_may_be_called_so(self, category):
        low, high = RANGES[category]
        assert fits(category, low)
        assert low == 0 or not fits(category, low * 0.999)
        assert high == float("inf") or (fits(category, high * 0.999) and not fits(category, high))
        assert all(category in fitting(b) for b in (0.5, 3, 7, 20, 50, 100) if category_of(b) == category)

    def test_counted_parameters_may_differ_a_little(self):
        least = 1 - COUNT_TOLERANCE
        assert fits("small", least, tolerance=COUNT_TOLERANCE)
        assert not fits("small", least - 0.001, tolerance=COUNT_TOLERANCE)
        assert fits("tiny", 1 + COUNT_TOLERANCE - 0.001, tolerance=COUNT_TOLERANCE)
        assert not fits("tiny", 1 + COUNT_TOLERANCE, tolerance=COUNT_TOLERANCE)

    def test_ranges_in_words(self):
        assert range_text("tiny") == "less than 1 billion parameters"
        assert range_text("medium") == "2 to 10 billion parameters"
        assert range_text("huge") == "30 billion parameters or more"

    def test_workers_that_fit(self):
        assert (capped_workers("medium", 4), capped_workers("medium", 2), capped_workers("medium", 1)) == (2, 2, 1)
        assert (capped_workers("tiny", 5), capped_workers("tiny", 4), capped_workers("huge", 4)) == (4, 4, 1)
        assert (capped_workers(None, 4), capped_workers(None, 0)) == (1, 0)
        assert set(WORKERS) == set(CATEGORIES)

    @pytest.mark.parametrize(
        ("repository", "category", "advice"),
        [
            ("a/b-7B", "tiny", "write medium or large, or auto"),
            ("a/b-7B", "xlarge", "write medium or large, or auto"),
            ("a/b-0.5B", "small", "write tiny, or auto"),
            ("a/b-1_6b", "medium", "write small, or auto"),
            ("a/b-70B", "xlarge", "write huge, or auto"),
        ],
    )
    def test_a_size_that_the_name_contradicts_is_refused(self, tmp_path, repository, category, advice):
        with pytest.raises(PlaybookError) as caught:
            load_data(tmp_path, changed({"model.hf_repo": repository, "model.size_category": category}))
        assert caught.value.line is not None
        assert f"model.size_category: is {range_text(category)}, and {repository[2:]} has " in str(caught.value)
        assert str(caught.value).endswith(advice)
