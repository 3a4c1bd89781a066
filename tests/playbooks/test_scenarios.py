"""Expansion of the matrix: order, ids, keys, seeds and prompts, with the worked example of the specification."""

import time

import pytest

from pytest_aprqa.playbooks.scenarios import expand
from tests.playbooks.playbook_texts import changed, load_data


@pytest.fixture
def scenarios(tmp_path):
    """Scenarios of SMALL with changes."""
    return lambda changes=None: expand(load_data(tmp_path, changed(changes or {})))


class TestWorkedExample:
    @pytest.fixture
    def eighteen(self, scenarios):
        return scenarios(
            {
                "model.hf_repo": "Qwen/Qwen2.5-Coder-1.5B-Instruct",
                "test_matrix.prompts": [f"prompt {i}" for i in range(15)],
            }
        )

    def test_eighteen_scenarios_in_order(self, eighteen):
        cells = [(s.modality, s.backend, s.format) for s in eighteen]
        assert len(cells) == 18
        assert cells[:4] == [
            ("run", "cpu", "safetensors"),
            ("run", "cpu", "apr"),
            ("run", "cpu", "gguf"),
            ("run", "gpu", "safetensors"),
        ]
        assert cells[-1] == ("serve", "gpu", "gguf")

    @pytest.mark.parametrize(
        ("number", "tail"),
        [
            (0, "run_cpu_safetensors_0000000000000000"),
            (3, "run_gpu_safetensors_0000000000000003"),
            (17, "serve_gpu_gguf_0000000000000011"),
        ],
    )
    def test_ids(self, eighteen, number, tail):
        assert eighteen[number].scenario_id == f"Qwen2.5-Coder-1.5B-Instruct_{tail}"

    def test_every_prompt_is_used(self, eighteen):
        assert [s.prompt for s in eighteen] == [f"prompt {i % 15}" for i in range(18)]

    def test_fixed_fields(self, eighteen):
        assert {(s.temperature, s.max_tokens) for s in eighteen} == {(0.0, 32)}

    def test_category_of_each_cell(self, eighteen):
        found = {(s.modality, s.backend): s.category for s in eighteen}
        assert found == {
            ("run", "cpu"): "A1",
            ("run", "gpu"): "A2",
            ("chat", "cpu"): "A3",
            ("chat", "gpu"): "A4",
            ("serve", "cpu"): "A5",
            ("serve", "gpu"): "A6",
        }


class TestPrompts:
    def test_count_one_below_the_prompts_goes_on_in_the_next_cell(self, scenarios):
        made = scenarios({"test_matrix.prompts": ["a", "b", "c"], "test_matrix.scenario_count": 2})
        assert "".join(s.prompt for s in made[:6]) == "abcabc"

    @pytest.mark.parametrize(("count", "first_cell"), [(3, "abc"), (4, "abca")])
    def test_count_of_at_least_the_prompts_repeats_them_in_each_cell(self, scenarios, count, first_cell):
        made = scenarios({"test_matrix.prompts": ["a", "b", "c"], "test_matrix.scenario_count": count})
        assert "".join(s.prompt for s in made[:count]) == first_cell
        assert "".join(s.prompt for s in made[count : 2 * count]) == first_cell

    def test_mvp_matrix_overrules_the_prompts(self, scenarios):
        rows = [{"format": "apr", "backend": "cpu", "modality": m, "prompt": f"ask {m}"} for m in ("chat", "run")]
        made = scenarios(
            {
                "model.formats": ["apr"],
                "test_matrix.backends": ["cpu"],
                "test_matrix.modalities": ["run", "chat"],
                "test_matrix.scenario_count": 2,
                "test_matrix.prompts": ["never"],
                "mvp_matrix": rows,
            }
        )
        assert [s.prompt for s in made] == ["ask run", "ask run", "ask chat", "ask chat"]


class TestSeedsAndKeys:
    def test_seed_is_the_base_plus_the_counter_and_the_id_keeps_the_counter(self, scenarios):
        made = scenarios({"test_matrix.seed": 1000})
        assert [s.seed for s in made] == list(range(1000, 1018))
        assert made[17].scenario_id.endswith("_0000000000000011")

    @pytest.mark.parametrize(("count", "last"), [(1, "p00"), (99, "p98"), (100, "p99"), (101, "p100"), (1000, "p999")])
    def test_index_is_padded_to_the_width_needed(self, scenarios, count, last):
        made = scenarios({"test_matrix.scenario_count": count})
        assert made[count - 1].key == f"safetensors-cpu-run-{last}"
        assert len({len(s.key) for s in made[:count]}) == 1

    def test_keys_and_ids_are_unique(self, scenarios):
        made = scenarios({"test_matrix.scenario_count": 100})
        assert len(made) == len({s.key for s in made}) == len({s.scenario_id for s in made}) == 1800

    def test_sorting_keys_of_a_cell_keeps_their_order(self, scenarios):
        made = scenarios({"test_matrix.scenario_count": 101})[:101]
        assert sorted(s.key for s in made) == [s.key for s in made]


def test_each_call_gives_a_list_of_its_own(tmp_path):
    playbook = load_data(tmp_path, changed({}))
    expand(playbook).clear()
    assert len(expand(playbook)) == 18


def test_expansion_of_1800_is_not_absurdly_slow(tmp_path):
    playbook = load_data(tmp_path, changed({"test_matrix.scenario_count": 100}))
    started = time.perf_counter()
    assert len(expand(playbook)) == 1800
    assert time.perf_counter() - started < 2


# formats x backends x modalities x count, scenarios, number of such files: the survey of the ancestor's playbooks.
@pytest.mark.parametrize(
    ("formats", "backends", "modalities", "count", "total"),
    [
        (3, 2, 3, 1, 18), (3, 2, 3, 100, 1800), (1, 1, 1, 10, 10), (3, 1, 3, 1, 9), (1, 1, 1, 3, 3), (3, 2, 1, 1, 6),
        (1, 1, 2, 25, 50),
    ],
)  # fmt: skip
def test_totals_of_the_known_shapes(tmp_path, formats, backends, modalities, count, total):
    changes = {
        "model.formats": ["safetensors", "apr", "gguf"][:formats],
        "test_matrix.backends": ["cpu", "gpu"][:backends],
        "test_matrix.modalities": ["run", "chat", "serve"][:modalities],
        "test_matrix.scenario_count": count,
    }
    playbook = load_data(tmp_path, changed(changes))
    assert len(expand(playbook)) == playbook.matrix.size == total
