"""The playbooks and templates that the package ships: they load without a warning and ask for what they say."""

from pathlib import Path

import jsonschema
import pytest

from pytest_aprqa.playbooks.blocks import PROFILE_DEFAULTS
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.scenarios import expand
from pytest_aprqa.playbooks.templates import fill_template, short_name
from pytest_aprqa.playbooks.validation import schema
from tests.playbooks.playbook_texts import REMOVE, changed, load_data

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted((ROOT / "playbooks").rglob("*.playbook.yaml"))
TEMPLATES = sorted((ROOT / "playbooks" / "templates").glob("*.yaml"))
TICKET_KEYS = ("verification_gates", "reproduction", "expected", "acceptance", "regression_tests", "tools_required")
CODER = "Qwen/Qwen2.5-Coder-1.5B-Instruct"


def load_model(name):
    return load_playbook(ROOT / "playbooks" / "models" / f"{name}.playbook.yaml")


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: path.name)
def test_shipped_playbook_loads_without_a_warning(path):
    playbook = load_playbook(path)
    assert playbook.warnings == ()
    assert playbook.stem == playbook.name


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(schema())


def test_defaults_of_the_schema_are_those_of_the_code(tmp_path):
    playbook = load_data(tmp_path, changed({"model.formats": REMOVE, "test_matrix.scenario_count": REMOVE}))
    model = schema()["$defs"]["model"]["properties"]
    matrix = schema()["$defs"]["test_matrix"]["properties"]
    for section, properties in ((playbook.model, model), (playbook.matrix, matrix)):
        for name in ("formats", "quantizations", "scenario_count", "prompts", "seed", "max_tokens"):
            if "default" in properties.get(name, {}):
                value = getattr(section, name)
                assert properties[name]["default"] == (list(value) if isinstance(value, tuple) else value)
    profile = schema()["$defs"]["profile_ci"]["properties"]
    assert {name: node["default"] for name, node in profile.items()} == PROFILE_DEFAULTS


def test_every_key_of_the_main_sections_is_described():
    sections = [schema(), schema()["$defs"]["model"], schema()["$defs"]["test_matrix"]]
    for section in sections:
        silent = [name for name, node in section["properties"].items() if "description" not in node]
        assert set(silent) <= set(TICKET_KEYS)


def test_tiny_model():
    playbook = load_model("tiny-qwen2-mvp")
    assert playbook.model.hf_repo == "aprqa/tiny-qwen2"
    assert playbook.model.local_path == ROOT / "models" / "tiny-qwen2"
    assert playbook.model.expected == {
        "hidden_dim": 256,
        "num_layers": 4,
        "num_heads": 4,
        "num_kv_heads": 2,
        "vocab_size": 816,
        "intermediate_dim": 512,
    }
    assert playbook.failure_policy is FailurePolicy.COLLECT_ALL
    scenarios = expand(playbook)
    assert len(scenarios) == 216
    assert {s.prompt for s in scenarios if s.format == "gguf" and s.modality == "chat" and s.backend == "cpu"} == set(
        playbook.matrix.prompts
    )


def test_coder_model_uses_all_fifteen_prompts():
    playbook = load_model("qwen-coder-mvp")
    scenarios = expand(playbook)
    assert len(scenarios) == 18
    assert {s.prompt for s in scenarios} == set(playbook.matrix.prompts)
    assert len(playbook.matrix.prompts) == 15
    assert playbook.matrix.timeout_ms == 90000
    assert scenarios[0].scenario_id == "Qwen2.5-Coder-1.5B-Instruct_run_cpu_safetensors_0000000000000000"


def test_coder_answers_belong_to_its_prompts():
    playbook = load_model("qwen-coder-mvp")
    answers = next(o for o in playbook.oracles if o["type"] == "arithmetic")["config"]["answers"]
    assert list(answers.values()) == ["17", "28", "7", "210", "55"]
    assert set(answers) < set(playbook.matrix.prompts)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_template_itself_is_refused(path):
    with pytest.raises(PlaybookError, match="placeholder"):
        load_playbook(path)


@pytest.mark.parametrize(
    ("name", "scenarios", "gates"),
    [
        ("mvp", 18, 0),
        ("quick-check", 10, 5),
        ("basic-verify", 9, 0),
        ("ci-pipeline", 225, 12),
        ("full-qualification", 1800, 23),
    ],
)
def test_filled_in_template(tmp_path, name, scenarios, gates):
    path = tmp_path / f"{name}.playbook.yaml"
    path.write_text(fill_template(ROOT / "playbooks" / "templates" / f"{name}.yaml", CODER), encoding="utf-8")
    playbook = load_playbook(path)
    assert playbook.warnings == ()
    assert playbook.model.hf_repo == CODER
    assert playbook.model.size_category == "small"
    assert playbook.name.startswith("qwen2.5-coder-1.5b-")
    assert len(expand(playbook)) == scenarios
    assert len(playbook.blocks.get("falsification_gates", ())) == gates


def test_there_are_five_templates():
    assert len(TEMPLATES) == 5


def test_mvp_template_asks_each_cell_its_own_question(tmp_path):
    path = tmp_path / "x.playbook.yaml"
    path.write_text(fill_template(ROOT / "playbooks" / "templates" / "mvp.yaml", CODER), encoding="utf-8")
    scenarios = expand(load_playbook(path))
    assert len({s.prompt for s in scenarios}) == 18
    assert next(s for s in scenarios if s.key == "gguf-gpu-serve-p00").prompt == "List 3 countries"


@pytest.mark.parametrize("repository", ["", "name", "a/b/c", "a/b\nx: 1", "a/..", "${MODEL_ID}/x"])
def test_repository_that_would_break_the_template(repository):
    with pytest.raises(PlaybookError, match="give a repository, ORG/NAME"):
        fill_template(TEMPLATES[0], repository)


def test_unknown_placeholder(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("name: x\nmodel: ${MODLE}\n", encoding="utf-8")
    with pytest.raises(PlaybookError, match=r"t\.yaml:2:8: unknown placeholder \(found \$\{MODLE\}\)"):
        fill_template(path, CODER)


def test_missing_template(tmp_path):
    with pytest.raises(PlaybookError, match="cannot be read"):
        fill_template(tmp_path / "t.yaml", CODER)


@pytest.mark.parametrize(
    ("repository", "name"),
    [
        (CODER, "qwen2.5-coder-1.5b"),
        ("google/gemma-2-2b-it", "gemma-2-2b"),
        ("meta-llama/CodeLlama-7b-Instruct-hf", "codellama-7b-hf"),
    ],
)
def test_short_names(repository, name):
    assert short_name(repository) == name
