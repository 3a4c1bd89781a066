"""--shard I/N: each item in exactly one part, items that share an engine together, parts of like size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_aprqa.sharding import group_of_item, parse_shard, shard_of_groups, split

FORMATS, BACKENDS = ("safetensors", "apr", "gguf"), ("cpu", "gpu")
NODE_IDS = [
    *(f"p.playbook.yaml::test_{n}[{f}-{b}-run-p{n:02}]" for n in range(20) for f in FORMATS for b in BACKENDS),
    *(f"p.playbook.yaml::test_file[{f}]" for f in FORMATS),
    "p.playbook.yaml::test_of_all",
    "folder/tests.py::test_other",
]


@given(st.sets(st.sampled_from(NODE_IDS), min_size=1), st.integers(1, 12), st.randoms())
def test_each_item_is_in_exactly_one_shard_whatever_the_order(chosen, total, random):
    node_ids = sorted(chosen)
    parts = split(node_ids, total)
    assert len(parts) == total
    assert sorted(node_id for part in parts for node_id in part) == node_ids
    random.shuffle(node_ids)
    assert [sorted(part) for part in split(node_ids, total)] == [sorted(part) for part in parts]


@given(st.integers(1, 12))
def test_items_that_share_an_engine_are_in_one_shard(total):
    for group in {group_of_item(node_id) for node_id in NODE_IDS}:
        shards = [part for part in split(NODE_IDS, total) if any(group_of_item(n) == group for n in part)]
        assert len(shards) == 1, f"the engine of {group} would be loaded {len(shards)} times"


@given(st.dictionaries(st.text(min_size=1), st.integers(1, 1000), min_size=1), st.integers(1, 9))
def test_no_shard_has_more_than_a_fair_part_and_one_group(weights, total):
    loads = [0] * total
    for group, shard in shard_of_groups(weights, total).items():
        loads[shard] += weights[group]
    assert max(loads) <= sum(weights.values()) / total + max(weights.values())


def test_the_folder_of_the_playbook_does_not_matter():
    assert group_of_item("a/b/p.playbook.yaml::test_a[gguf-cpu]") == group_of_item("p.playbook.yaml::test_b[gguf]")


@pytest.mark.parametrize(("text", "pair"), [("1/1", (1, 1)), ("3/3", (3, 3)), ("10000/10000", (10000, 10000))])
def test_shards_at_their_limits(text, pair):
    assert parse_shard(text) == pair


@pytest.mark.parametrize("text", ["0/1", "4/3", "1/0", "1/10001", "1", "1/", "/3", "a/b", "-1/3", "1/3/5", "1.5/2"])
def test_what_is_no_shard_is_a_usage_error(text):
    with pytest.raises(pytest.UsageError, match=r"--shard: found .* limit I/N"):
        parse_shard(text)


def test_the_shards_of_a_run_are_collected_apart_and_together_are_all(project):
    path = project.write_playbook(model={"formats": ["safetensors", "gguf"]})

    def ids(*arguments):
        found = project.run(f"--playbook={path}", "--co", "-q", *arguments)
        return [line for line in found.outlines if "::" in line]

    (project.path / "pytest.ini").write_text("[pytest]\naprqa_shard = 2/2\n")
    second = ids()
    first, whole = ids("--shard=1/2"), ids("--shard=1/1")
    assert sorted(first + second) == sorted(whole)
    assert first
    assert second


@pytest.mark.parametrize("part", ["--shard=1/2", "--resume=run"])
def test_seeded_defects_have_no_parts(project, part):
    result = project.run(f"--playbook={project.write_playbook()}", "--falsify", part)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{part.split('=')[0]} does not go with --falsify*"])


def test_a_shard_says_what_its_score_is(project):
    result = project.run(f"--playbook={project.write_playbook()}", "--shard=1/1", "-k", "file_is_sound")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["shard 1/1, to be joined with aprqa merge: the score is not held*"])


def test_a_shard_that_is_none_ends_the_run_before_it_begins(project):
    result = project.run(f"--playbook={project.write_playbook()}", "--shard=3/2")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--shard: found '3/2', limit I/N*"])
