"""From a file to a Playbook: defaults, conversions, warnings, and every rule just below and just above its limit."""

import time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.policies import FailurePolicy
from tests.playbooks.playbook_texts import REMOVE, SMALL, changed, load_data


@pytest.fixture
def load(tmp_path):
    """Load SMALL with changes: `load({"model.formats": ["apr"]})`."""
    return lambda changes=None: load_data(tmp_path, changed(changes or {}))


@pytest.fixture
def refusal(load):
    """The one-line error that SMALL with changes leads to."""

    def refusal(changes):
        with pytest.raises(PlaybookError) as caught:
            load(changes)
        assert len(str(caught.value).splitlines()) == 1
        return caught.value

    return refusal


VALID_TEXT = (
    "name: x",
    "version: 1.0.0",
    "model:",
    "  hf_repo: a/b",
    "test_matrix:",
    "  backends: [cpu]",
    "  modalities: [run]",
)


@pytest.fixture
def load_text(tmp_path):
    """Load a playbook given as text."""

    def load_text(text):
        path = tmp_path / "text.playbook.yaml"
        path.write_text(text, encoding="utf-8")
        return load_playbook(path)

    return load_text


class TestDefaults:
    def test_smallest_playbook(self, load, tmp_path):
        playbook = load({"model.formats": REMOVE, "test_matrix.scenario_count": REMOVE})
        assert playbook.model.formats == ("gguf", "safetensors", "apr")
        assert playbook.model.quantizations == ("q4_k_m",)
        assert playbook.matrix.scenario_count == 100
        assert playbook.matrix.prompts == ("What is 2+2?",)
        assert playbook.matrix.max_tokens == 32
        assert playbook.matrix.seed == 42
        assert playbook.matrix.timeout_ms is None
        assert playbook.failure_policy is None
        assert playbook.profile_ci is None
        assert playbook.contract_invariants == ("I-1", "I-2", "I-3", "I-4", "I-5")
        assert set(playbook.gates.values()) == {True}
        assert playbook.model.expected == {}
        assert playbook.blocks == {}
        assert playbook.warnings == ()
        assert playbook.path == tmp_path / "small.playbook.yaml"
        assert playbook.stem == "small"

    def test_the_golden_rule_always_runs(self, load):
        assert load({"contract_tests": {"invariants": ["I-3"]}}).contract_invariants == ("I-1", "I-3")

    def test_profile_is_completed(self, load):
        profile = load({"profile_ci": {"enabled": True, "warmup": 1}}).profile_ci
        assert (profile["enabled"], profile["warmup"], profile["measure"]) == (True, 1, 10)
        assert profile["formats"] == ["gguf", "apr", "safetensors"]
        assert load({"profile_ci": {"warmup": 1}}).profile_ci["enabled"] is False

    def test_local_path_is_relative_to_the_playbook(self, load, tmp_path):
        assert load({"model.local_path": "../models/x"}).model.local_path == tmp_path.parent / "models" / "x"

    def test_local_path_may_be_absolute(self, load, tmp_path):
        assert load({"model.local_path": str(tmp_path / "x")}).model.local_path == tmp_path / "x"

    def test_expected_dimensions(self, load):
        model = load({"model.expected_hidden_dim": 256, "model.expected_vocab_size": 816}).model
        assert model.expected == {"hidden_dim": 256, "vocab_size": 816}
        assert (model.organisation, model.name) == ("org", "Name-1.5B")

    @pytest.mark.parametrize("category", [REMOVE, "auto"])
    def test_size_category_comes_from_the_name(self, load, category):
        changes = {} if category is REMOVE else {"model.size_category": category}
        assert load(changes).model.size_category == "small"

    def test_explicit_size_category_is_kept(self, load):
        assert load({"model.hf_repo": "org/name", "model.size_category": "tiny"}).model.size_category == "tiny"

    def test_size_category_that_nothing_tells(self, load):
        assert load({"model.hf_repo": "org/name"}).model.size_category is None


class TestConversions:
    @pytest.mark.parametrize(
        ("word", "value"),
        [("true", True), ("True", True), ("yes", True), ("ON", True), ("false", False), ("No", False), ("off", False)],
    )
    def test_quoted_booleans(self, load, word, value):
        assert load({"gates": {"g1_model_loads": word}}).gates["g1_model_loads"] is value

    def test_unquoted_words_of_yaml_1_1(self, load_text):
        text = yaml.safe_dump(SMALL) + "gates: {g1_model_loads: no, g2_basic_inference: on}\n"
        gates = load_text(text).gates
        assert (gates["g1_model_loads"], gates["g2_basic_inference"]) == (False, True)

    @pytest.mark.parametrize("text", ["1e-5", "'1e-5'", "0.00001", '"0.00001"'])
    def test_tolerance_of_the_number_trap(self, load_text, text):
        block = f"differential_tests: {{inference_compare: {{enabled: 'true', tolerance: {text}}}}}\n"
        blocks = load_text(yaml.safe_dump(SMALL) + block).blocks
        assert blocks["differential_tests.inference_compare"]["tolerance"] == 0.00001

    def test_quoted_whole_numbers(self, load):
        matrix = load({"test_matrix.scenario_count": "7", "test_matrix.timeout_ms": 60000.0}).matrix
        assert (matrix.scenario_count, matrix.timeout_ms) == (7, 60000)
        assert type(matrix.timeout_ms) is int

    @pytest.mark.parametrize("value", ["stop_on_p0", "stop-on-p0"])
    def test_failure_policy(self, load, value):
        assert load({"failure_policy": value}).failure_policy is FailurePolicy.STOP_ON_P0

    def test_answers_become_text(self, load):
        config = {"answers": {"What is 2+2?": 4, "other": "four"}}
        playbook = load(
            {"oracles": [{"type": "composite", "config": {"oracles": [{"type": "arithmetic", "config": config}]}}]}
        )
        assert playbook.oracles[0]["config"]["oracles"][0]["config"]["answers"] == {
            "What is 2+2?": "4",
            "other": "four",
        }

    def test_settings_of_another_oracle_are_left_out_with_a_warning(self, load):
        playbook = load({"oracles": [{"type": "garbage", "config": {"tolerance": 1, "min_unique_chars": 5}}]})
        assert playbook.oracles == ({"type": "garbage", "config": {"min_unique_chars": 5}},)
        assert len(playbook.warnings) == 1
        assert "tolerance: is not a setting of garbage, ignored" in playbook.warnings[0]

    def test_composite_needs_members(self, refusal):
        assert "judges nothing" in str(refusal({"oracles": [{"type": "composite", "config": {"mode": "any"}}]}))

    def test_names_may_have_dots(self, load):
        assert load({"name": "qwen2.5_coder-1.5b-mvp"}).name == "qwen2.5_coder-1.5b-mvp"


class TestLimits:
    @pytest.mark.parametrize(
        ("path", "good", "bad"),
        [
            ("test_matrix.scenario_count", [1, 1000], [0, 1001, 1.5, True, "many", None]),
            ("test_matrix.timeout_ms", [1000, 600000], [999, 600001, "60s"]),
            ("test_matrix.max_tokens", [1, 4096], [0, 4097]),
            ("test_matrix.seed", [0, 10**18 - 1], [-1, 10**18]),
            (
                "test_matrix.prompts",
                [["x"], [""], ["x" * 65536], ["p"] * 1000],
                [[], ["x" * 65537], ["p"] * 1001, [4], "x", [None]],
            ),
            ("test_matrix.modalities", [["run"], ["serve", "run"]], [[], ["walk"], ["run", "run"], "run", REMOVE]),
            ("test_matrix.backends", [["cpu"]], [[], ["tpu"], ["cpu", "cpu"], REMOVE]),
            ("model.formats", [["apr"]], [[], ["onnx"], ["apr", "apr"], "apr"]),
            ("model.quantizations", [["bf16", "f32"]], [[], ["q4_k_xl"], ["bf16", "bf16"]]),
            (
                "model.hf_repo",
                ["a/b", "a_-1/B.c_d-e", "a/..b"],
                ["b", "a/b/c", "a b/c", "a/..", "a/b\n", "/b", "a/", 7, REMOVE],
            ),
            ("model.expected_hidden_dim", [1, 2**31 - 1], [0, 2**31, 2.5]),
            ("model.size_category", ["small"], ["gigantic"]),
            ("name", ["a", "a" * 64, "0.5b_x-y"], ["", "a" * 65, "A", "a b", "-a", "../a", "a\n", REMOVE]),
            ("version", ["0.0.0", "10.20.30"], ["1.0", "1.0.0-a", "v1.0.0", 1.0, "1.0.0\n", REMOVE]),
            ("description", ["", "x" * 500], ["x" * 501, 5]),
            ("failure_policy", ["fail_fast", "collect-all"], ["stop", 1]),
            ("gates.g1_model_loads", [True, "off"], ["maybe", 1, None]),
            (
                "oracles",
                [[], [{"type": "garbage"}]],
                [["garbage"], [{"config": {}}], [{"type": "oracle"}], {"type": "garbage"}],
            ),
            ("contract_tests.invariants", [[], ["I-2"]], [["I-6"], ["I2"], ["I-2", "I-2"]]),
            ("profile_ci.measure", [1, 1000], [0, 1001]),
            ("profile_ci.assertions", [{"min_throughput": 0}, {"max_p99_ms": 2.5}], [{"min_throughput": -1}, [1]]),
            ("ollama_parity.temperature", [0, 2], [-0.1, 2.1]),
            ("property_tests", [[], {"enabled": True, "cases": 10000}], [{"cases": 10001}, [{"name": "x"}], "x"]),
            ("model", [], [REMOVE, [], "org/name", None]),
            ("test_matrix", [], [REMOVE, []]),
        ],
    )
    def test_rule(self, load, refusal, path, good, bad):
        for value in good:
            load({path: value})
        for value in bad:
            error = refusal({path: value})
            assert error.key_path.startswith(path)
            assert error.advice

    def test_heads_must_be_shared_evenly(self, load, refusal):
        load({"model.expected_num_heads": 12, "model.expected_num_kv_heads": 4})
        error = refusal({"model.expected_num_heads": 12, "model.expected_num_kv_heads": 5})
        assert "does not divide expected_num_heads (12) (found 5)" in str(error)


class TestMessages:
    def test_file_line_column_key_value_rule_and_advice(self, load_text, tmp_path):
        text = "\n".join([*VALID_TEXT, "  scenario_count: 2000"])
        with pytest.raises(PlaybookError) as caught:
            load_text(text)
        assert str(caught.value) == (
            f"{tmp_path}/text.playbook.yaml:8:3: test_matrix.scenario_count: must be at most 1000 (found 2000);"
            " give a number from 1 to 1000"
        )

    def test_first_fault_of_the_file_is_said_and_the_others_are_counted(self, load_text):
        with pytest.raises(PlaybookError) as caught:
            load_text(
                "name: X\nversion: 1\nmodel: {hf_repo: a/b}\n"
                "test_matrix: {modalities: [run], backends: [cpu], seed: -1}\n"
            )
        assert caught.value.key_path == "name"
        assert len(caught.value.others) == 2
        assert "(2 more: line 2: version: must be text (found 1); put it in quotes ...)" in str(caught.value)

    def test_slip_in_a_word(self, refusal):
        assert "did you mean `safetensors`?" in str(refusal({"model.formats": ["safetensor"]}))

    def test_slip_in_a_required_key(self, refusal):
        error = refusal({"model.hf_repo": REMOVE, "model.hf_rpeo": "a/b"})
        assert "model.hf_repo: is missing; is `hf_rpeo` meant to be it?" in str(error)

    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", "an empty file"),
            ("# x\n", "an empty file"),
            ("null", "an empty file"),
            ("- a\n", "a list of 1 item"),
            ("just text", "'just text'"),
            ("42", "42"),
        ],
    )
    def test_not_a_mapping(self, load_text, text, found):
        with pytest.raises(PlaybookError, match="must be a mapping") as caught:
            load_text(text)
        assert caught.value.found == found

    @pytest.mark.parametrize("path", ["name", "model.hf_repo", "description", "test_matrix.prompts", "metadata.note"])
    def test_placeholder_of_a_template(self, refusal, path):
        value = ["a ${MODEL_ID} b"] if path.endswith("prompts") else "${MODEL_ID}"
        error = refusal({path: value})
        assert error.key_path.startswith(path)
        assert "placeholder" in str(error)

    def test_placeholder_in_a_comment_is_no_matter(self, load_text):
        assert load_text(yaml.safe_dump(SMALL) + "# ${MODEL_ID}\n").name == load_text(yaml.safe_dump(SMALL)).name

    def test_dollar_alone_is_text(self, load):
        assert load({"test_matrix.prompts": ["echo $HOME {x}"]}).matrix.prompts == ("echo $HOME {x}",)


class TestWarnings:
    @pytest.mark.parametrize(
        ("key", "words"),
        [
            ("test_matrix.promts", "unknown key; did you mean `prompts`?"),
            ("zzz", "unknown key; known here: name, version, description, model"),
            ("model.oracle", "unknown key"),
        ],
    )
    def test_unknown_keys_are_refused_with_a_suggestion(self, load, key, words):
        with pytest.raises(PlaybookError) as caught:
            load({key: {"deep": 1}})
        assert len(str(caught.value).splitlines()) == 1
        assert key in str(caught.value)
        assert words in str(caught.value)

    def test_free_blocks_have_no_unknown_keys(self, load):
        assert load({"metadata": {"anything": {"at": ["all"]}}}).warnings == ()

    def test_prompts_that_no_scenario_uses(self, load):
        assert load({"test_matrix.prompts": [f"p{i}" for i in range(18)]}).warnings == ()
        warnings = load({"test_matrix.prompts": [f"p{i}" for i in range(19)]}).warnings
        assert "the last 1 of 19 prompts are never used" in warnings[0]

    def test_answer_without_prompt(self, load):
        oracle = {"type": "arithmetic", "config": {"answers": {"What is 2+3?": 5}}}
        assert "is not a prompt of this playbook" in load({"oracles": [oracle]}).warnings[0]

    def test_prompt_count_of_the_kernel_profile(self, load):
        assert load({"kernel_profile": {"prompt_count": 1}}).warnings == ()
        assert "says 2, test_matrix.prompts has 1" in load({"kernel_profile": {"prompt_count": 2}}).warnings[0]


class TestBlocks:
    def test_enabled_blocks_only(self, load):
        blocks = load(
            {
                "differential_tests": {"tensor_diff": {"enabled": "true"}, "fingerprint": {"enabled": "false"}},
                "trace_payload": {"enabled": True},
                "ollama_parity": {"enabled": False},
                "falsification_gates": [],
                "property_tests": [{"name": "n", "generator": "arithmetic()", "oracle": "correct"}],
            }
        ).blocks  # fmt: skip
        assert sorted(blocks) == ["differential_tests.tensor_diff", "property_tests", "trace_payload"]
        assert blocks["property_tests"][0]["count"] == 100

    def test_statistics_tolerances_are_completed_one_by_one(self, load):
        limits = {"layernorm": 0.001, "embedding": 0.1, "attention": 0.01}
        for given_limits, expected in ((None, limits), ({}, limits), ({"embedding": 0.5}, limits | {"embedding": 0.5})):
            block = {"enabled": True} | ({} if given_limits is None else {"tolerance": given_limits})
            blocks = load({"differential_tests": {"validate_stats": block}}).blocks
            assert blocks["differential_tests.validate_stats"]["tolerance"] == expected

    def test_ollama_tag_defaults_to_the_model(self, load):
        blocks = load({"ollama_parity": {"enabled": True}}).blocks
        assert blocks["ollama_parity"]["model_tag"] == "Name-1.5B:latest"

    def test_state_machine_targets_must_be_states(self, load, refusal):
        states = {"off": {"transitions": [{"event": "load", "target": "ready"}]}, "ready": {}}
        assert "state_machine" in load({"state_machine": {"initial": "off", "states": states}}).blocks
        assert "is not the name of a state" in str(refusal({"state_machine": {"initial": "up", "states": states}}))
        del states["ready"]
        error = refusal({"state_machine": {"initial": "off", "states": states}})
        assert error.key_path == "state_machine.states.off.transitions[0].target"


ROWS = tuple({"format": "apr", "backend": "cpu", "modality": m, "prompt": f"ask {m}"} for m in ("run", "chat"))
TWO_CELLS = {"model.formats": ["apr"], "test_matrix.backends": ["cpu"], "test_matrix.modalities": ["run", "chat"]}


class TestMvpMatrix:
    def test_exactly_the_cells(self, load):
        matrix = load(TWO_CELLS | {"mvp_matrix": [*ROWS]}).matrix
        assert matrix.mvp_matrix == {("apr", "cpu", "run"): "ask run", ("apr", "cpu", "chat"): "ask chat"}

    def test_a_cell_is_missing(self, refusal):
        error = refusal(TWO_CELLS | {"mvp_matrix": [ROWS[0]]})
        assert "must have a row for each of the 2 cells of the matrix (found 1 rows, none for apr-cpu-chat)" in str(
            error
        )

    def test_a_cell_too_many(self, refusal):
        error = refusal(TWO_CELLS | {"mvp_matrix": [*ROWS, ROWS[0] | {"backend": "gpu"}]})
        assert error.key_path == "mvp_matrix[2]"
        assert "is not a cell of the matrix (found apr-gpu-run)" in str(error)

    def test_a_cell_twice(self, refusal):
        assert "has a row already" in str(refusal(TWO_CELLS | {"mvp_matrix": [*ROWS, dict(ROWS[0])]}))


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SECTIONS = [
    "name", "version", "model", "model.formats", "model.hf_repo", "model.local_path", "test_matrix",
    "test_matrix.prompts",
    "test_matrix.seed", "gates", "oracles", "failure_policy", "property_tests", "falsification_gates", "state_machine",
    "state_machine.states", "differential_tests", "differential_tests.validate_stats", "profile_ci", "trace_payload",
    "contract_tests", "ollama_parity", "kernel_profile", "metadata", "mvp_matrix",
]  # fmt: skip


class TestAnything:
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.dictionaries(st.sampled_from(SECTIONS), json_like, max_size=3))
    def test_any_value_anywhere_loads_or_is_one_playbook_error(self, tmp_path, changes):
        data = changed({})
        for path, value in changes.items():
            *parents, last = path.split(".")
            section = data
            for parent in parents:
                section = section.setdefault(parent, {}) if isinstance(section, dict) else {}
            if isinstance(section, dict):
                section[last] = value
        try:
            lines = [str(warning) for warning in load_data(tmp_path, data).warnings]
        except PlaybookError as error:
            lines = [str(error)]
        assert all(len(line.splitlines()) == 1 for line in lines)

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.text(max_size=200))
    def test_any_text_loads_or_is_one_playbook_error(self, tmp_path, text):
        path = tmp_path / "x.playbook.yaml"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(PlaybookError):
            load_playbook(path)

    def test_thousand_faults_are_one_line(self, refusal):
        error = refusal({"test_matrix.prompts": list(range(1000))})
        assert len(error.others) == 999
        assert len(str(error)) < 1000

    def test_faults_of_a_large_file_are_found_quickly(self, tmp_path):
        data = changed({}) | {f"key{i}": {"a": [1, 2, 3]} for i in range(2000)}
        started = time.perf_counter()
        with pytest.raises(PlaybookError) as caught:
            load_data(tmp_path, data)
        assert len(caught.value.others) == 1999
        assert time.perf_counter() - started < 30

    @pytest.mark.parametrize("item", ["{{a: {}}}", "[{}]", "x{}"])
    def test_repeated_items_of_a_long_list_are_found_quickly(self, load_text, item):
        items = ", ".join(item.format(i) for i in range(6000))
        started = time.perf_counter()
        with pytest.raises(PlaybookError):
            load_text(
                yaml.safe_dump(SMALL).replace("  formats:\n  - safetensors\n  - apr\n  - gguf", f"  formats: [{items}]")
            )
        assert time.perf_counter() - started < 10
