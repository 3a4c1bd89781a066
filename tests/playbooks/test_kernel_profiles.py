"""Kernel profiles: the totals and operations of playbook.md 9.3."""

from __future__ import annotations

import pytest

from pytest_aprqa.models.family_table import FAMILY_TABLE
from pytest_aprqa.playbooks.kernel_profiles import kernel_profile

EIGHT = ("FusedQ4kMatvec", "FusedQ6kMatvec", "GroupedQueryAttention", "RmsNorm", "Silu", "SwiGlu", "Rope", "BiasAdd")


@pytest.mark.parametrize(
    ("family", "positions", "count", "long_context"),
    [
        ("qwen2", None, 16, True),
        ("llama", None, 13, True),
        ("qwen2", 4096, 13, False),
        ("qwen2", 4097, 16, True),
        ("olmo", 2048, 10, False),
        ("gpt_bigcode", None, 13, False),
    ],
)
def test_number_of_prompts(family, positions, count, long_context):
    profile = kernel_profile(family, max_positions=positions)
    assert (len(profile.prompts), profile.long_context) == (count, long_context)
    assert profile.suggested_max_tokens == (128 if long_context else 64)


def test_operations_stand_in_the_order_of_the_table():
    assert kernel_profile("qwen2").operations == EIGHT
    assert kernel_profile("gpt_bigcode").operations == (
        "FusedQ4kMatvec", "FusedQ6kMatvec", "MultiQueryAttention", "LayerNorm", "Gelu", "AbsolutePosition", "BiasAdd",
        "TiedEmbeddings",
    )  # fmt: skip


@pytest.mark.parametrize("family", sorted(FAMILY_TABLE))
def test_every_family_has_a_profile_that_ends_with_the_common_prompts(family):
    profile = kernel_profile(family)
    assert profile.prompts[-1].text == "def is_prime(n):"
    assert len({prompt.text for prompt in profile.prompts}) == len(profile.prompts)
    assert profile.max_tokens >= 64


def test_unknown_families_are_refused():
    with pytest.raises(KeyError):
        kernel_profile("nobody")
