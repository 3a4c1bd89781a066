"""Every field of the schema: a value of it has an effect that this table names, and a wrong one has line and column."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
import yaml

from pytest_aprqa.playbooks.blocks import unrun_parts
from pytest_aprqa.playbooks.errors import PlaybookError, shown_path
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.policies import FailurePolicy
from pytest_aprqa.playbooks.scenarios import expand
from pytest_aprqa.playbooks.validation import schema
from tests.playbooks.playbook_texts import changed, load_data

PROFILE = "profile_ci.enabled=true"
PROPERTIES = {"name": "n", "generator": "arithmetic()", "oracle": "correct", "count": 7}
GATE = {"id": "F-X-001", "description": "d", "condition": "c", "severity": "P2"}
CELLS = [
    {"format": f, "backend": b, "modality": m, "prompt": f"{f} {b} {m}"}
    for m in ("run", "chat", "serve")
    for b in ("cpu", "gpu")
    for f in ("safetensors", "apr", "gguf")
]
MACHINE = {"states": ["a", "b"], "transitions": [{"from": "a", "to": "b", "action": "go"}]}


def block(name: str, **expected: Any) -> Any:
    """The block of that name is asked for, with these values; the suite runs it or has a skipped item for it."""
    return lambda p: name in p.blocks and {key: p.blocks[name][key] for key in expected} == expected


def oracle(kind: str, **expected: Any) -> Any:
    return lambda playbook: playbook.oracles[0] == {"type": kind, "config": expected}


def differential(name: str, **values: Any) -> tuple[dict[str, Any], Any]:
    path = f"differential_tests.{name}"
    return {path: {"enabled": True, **values}}, block(path, **values)


def profile(**values: Any) -> tuple[dict[str, Any], Any]:
    return (
        {"profile_ci": {"enabled": True, **values}},
        lambda playbook: {key: playbook.profile_ci[key] for key in values} == values,
    )


def assertion(name: str) -> tuple[dict[str, Any], Any]:
    return profile(assertions={name: 3.5})


def expected_dimension(name: str, value: int) -> tuple[dict[str, Any], Any]:
    return {f"model.expected_{name}": value}, lambda playbook: playbook.model.expected == {name: value}


def listed(name: str, value: Any) -> tuple[dict[str, Any], Any]:
    """A block that the suite does not run: a skipped item says so."""
    return {name: value}, lambda playbook: playbook.blocks[name] == value and name in unrun_parts(playbook)


def warned(path: str, value: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    """Documentation: compared with what is known, a contradiction is a warning with line and column."""
    return {path: value, **more}, lambda playbook: any(path in warning for warning in playbook.warnings)


# Field -> (changes to a small playbook, what they change). `[]`: an item of a list.
FIELDS: dict[str, tuple[dict[str, Any], Any]] = {
    "name": ({"name": "other"}, lambda p: p.name == "other"),
    "version": ({"version": "2.3.4"}, lambda p: p.version == "2.3.4"),
    "description": ({"description": "what for"}, lambda p: p.description == "what for"),
    "model.hf_repo": ({"model.hf_repo": "a/b-7B"}, lambda p: expand(p)[0].scenario_id.startswith("b-7B_")),
    "model.local_path": ({"model.local_path": "here"}, lambda p: p.model.local_path == p.path.parent / "here"),
    "model.formats": ({"model.formats": ["gguf"]}, lambda p: {s.format for s in expand(p)} == {"gguf"}),
    "model.quantizations": ({"model.quantizations": ["q8_0"]}, lambda p: p.model.quantizations == ("q8_0",)),
    "model.size_category": (
        {"model.hf_repo": "a/b", "model.size_category": "huge"},
        lambda p: p.model.size_category == "huge" and p.model.states_size,
    ),
    "model.expected_hidden_dim": expected_dimension("hidden_dim", 64),
    "model.expected_num_layers": expected_dimension("num_layers", 2),
    "model.expected_num_heads": expected_dimension("num_heads", 4),
    "model.expected_num_kv_heads": expected_dimension("num_kv_heads", 2),
    "model.expected_vocab_size": expected_dimension("vocab_size", 99),
    "model.expected_intermediate_dim": expected_dimension("intermediate_dim", 128),
    "model.family": (
        {"model.family": "qwen2", "model.size_variant": "7b"},
        lambda p: p.model.expected["hidden_dim"] == 3584 and len(p.model.expected) == 6,
    ),
    "model.size_variant": (
        {"model.family": "qwen2", "model.size_variant": "0.5b"},
        lambda p: p.model.expected["num_layers"] == 24,
    ),
    "test_matrix.modalities": (
        {"test_matrix.modalities": ["chat"]},
        lambda p: {s.modality for s in expand(p)} == {"chat"},
    ),
    "test_matrix.backends": ({"test_matrix.backends": ["gpu"]}, lambda p: {s.backend for s in expand(p)} == {"gpu"}),
    "test_matrix.scenario_count": ({"test_matrix.scenario_count": 4}, lambda p: len(expand(p)) == 72),
    "test_matrix.prompts": ({"test_matrix.prompts": ["a"]}, lambda p: {s.prompt for s in expand(p)} == {"a"}),
    "test_matrix.seed": ({"test_matrix.seed": 100}, lambda p: [s.seed for s in expand(p)][:2] == [100, 101]),
    "test_matrix.timeout_ms": ({"test_matrix.timeout_ms": 5000}, lambda p: p.matrix.timeout_ms == 5000),
    "test_matrix.max_tokens": ({"test_matrix.max_tokens": 9}, lambda p: expand(p)[0].max_tokens == 9),
    **{
        f"gates.{name}": (
            {f"gates.{name}": "off"},
            lambda p, name=name: [key for key, on in p.gates.items() if not on] == [name],
        )
        for name in ("g1_model_loads", "g2_basic_inference", "g3_no_crashes", "g4_output_quality")
    },
    "oracles.[].type": ({"oracles": [{"type": "response"}]}, oracle("response")),
    "oracles.[].config.tolerance": (
        {"oracles": [{"type": "arithmetic", "config": {"tolerance": "1e-3"}}]},
        oracle("arithmetic", tolerance=0.001),
    ),
    "oracles.[].config.answers": (
        {"oracles": [{"type": "arithmetic", "config": {"answers": {"What is 2+2?": 4}}}]},
        oracle("arithmetic", answers={"What is 2+2?": "4"}),
    ),
    "oracles.[].config.max_repetition_ratio": (
        {"oracles": [{"type": "garbage", "config": {"max_repetition_ratio": 0.2}}]},
        oracle("garbage", max_repetition_ratio=0.2),
    ),
    "oracles.[].config.min_unique_chars": (
        {"oracles": [{"type": "garbage", "config": {"min_unique_chars": 3}}]},
        oracle("garbage", min_unique_chars=3),
    ),
    "oracles.[].config.languages": (
        {"oracles": [{"type": "code_syntax", "config": {"languages": ["rust"]}}]},
        oracle("code_syntax", languages=["rust"]),
    ),
    "oracles.[].config.min_relevance": (
        {"oracles": [{"type": "response", "config": {"min_relevance": 0.5}}]},
        oracle("response", min_relevance=0.5),
    ),
    "oracles.[].config.check_coherence": (
        {"oracles": [{"type": "response", "config": {"check_coherence": "yes"}}]},
        oracle("response", check_coherence=True),
    ),
    "oracles.[].config.mode": (
        {"oracles": [{"type": "composite", "config": {"mode": "any", "oracles": [{"type": "garbage"}]}}]},
        oracle("composite", mode="any", oracles=[{"type": "garbage", "config": {}}]),
    ),
    "oracles.[].config.oracles": (
        {"oracles": [{"type": "composite", "config": {"oracles": [{"type": "response"}]}}]},
        oracle("composite", oracles=[{"type": "response", "config": {}}]),
    ),
    "failure_policy": ({"failure_policy": "fail_fast"}, lambda p: p.failure_policy is FailurePolicy.FAIL_FAST),
    "property_tests.enabled": ({"property_tests": {"enabled": True}}, block("property_tests", cases=100)),
    "property_tests.cases": ({"property_tests": {"enabled": True, "cases": 5}}, block("property_tests", cases=5)),
    "property_tests.max_shrink_iters": (
        {"property_tests": {"enabled": True, "max_shrink_iters": 5}},
        block("property_tests", max_shrink_iters=5),
    ),
    **{
        f"property_tests.[].{name}": (
            {"property_tests": [PROPERTIES]},
            lambda p: p.blocks["property_tests"] == [PROPERTIES],
        )
        for name in PROPERTIES
    },
    **{
        f"falsification_gates.[].{name}": (
            {"falsification_gates": [GATE]},
            lambda p: p.blocks["falsification_gates"] == [GATE],
        )
        for name in GATE
    },
    "state_machine.enabled": ({"state_machine": MACHINE | {"enabled": True}}, block("state_machine", enabled=True)),
    "state_machine.initial": ({"state_machine": MACHINE | {"initial": "a"}}, block("state_machine", initial="a")),
    **{
        f"state_machine.{name}": ({"state_machine": MACHINE}, block("state_machine", **MACHINE))
        for name in ("states", "transitions.[].from", "transitions.[].to", "transitions.[].action")
    },
    "differential_tests.format_validation.enabled": differential("format_validation"),
    "differential_tests.format_validation.checks": differential("format_validation", checks=["dtype_mapping"]),
    "differential_tests.format_validation.gates": differential("format_validation", gates=["G"]),
    "differential_tests.tensor_diff.enabled": differential("tensor_diff"),
    "differential_tests.tensor_diff.filter": differential("tensor_diff", filter="norm"),
    "differential_tests.tensor_diff.gates": differential("tensor_diff", gates=["G"]),
    "differential_tests.inference_compare.enabled": differential("inference_compare", max_tokens=10),
    "differential_tests.inference_compare.prompt": differential("inference_compare", prompt="hello"),
    "differential_tests.inference_compare.max_tokens": differential("inference_compare", max_tokens=3),
    "differential_tests.inference_compare.tolerance": differential("inference_compare", tolerance=0.5),
    "differential_tests.inference_compare.gates": differential("inference_compare", gates=["G"]),
    "differential_tests.fingerprint.enabled": differential("fingerprint", tensors="all"),
    "differential_tests.fingerprint.tensors": differential("fingerprint", tensors=["a"]),
    "differential_tests.fingerprint.stats": differential("fingerprint", stats=["mean"]),
    "differential_tests.fingerprint.gates": differential("fingerprint", gates=["G"]),
    "differential_tests.validate_stats.enabled": differential("validate_stats"),
    "differential_tests.validate_stats.reference": differential("validate_stats", reference="stats.json"),
    **{
        f"differential_tests.validate_stats.tolerance.{name}": (
            {"differential_tests.validate_stats": {"enabled": True, "tolerance": {name: 0.7}}},
            lambda p, name=name: p.blocks["differential_tests.validate_stats"]["tolerance"]
            == {"layernorm": 0.001, "embedding": 0.1, "attention": 0.01} | {name: 0.7},
        )
        for name in ("layernorm", "embedding", "attention")
    },
    "differential_tests.validate_stats.gates": differential("validate_stats", gates=["G"]),
    "profile_ci.enabled": profile(warmup=3, measure=10),
    "profile_ci.warmup": profile(warmup=1),
    "profile_ci.measure": profile(measure=2),
    "profile_ci.formats": profile(formats=["apr"]),
    "profile_ci.backends": profile(backends=["cpu"]),
    "profile_ci.baseline": profile(baseline="speeds.json"),
    **{
        f"profile_ci.assertions.{name}": assertion(name)
        for name in (
            "min_throughput", "min_throughput_cpu", "min_throughput_gpu", "max_p99_ms", "max_p50_ms", "max_memory_mib",
        )
    },
    "profile_ci.gates": (
        {"profile_ci": {"enabled": True, "gates": ["F-PERF-001", "F-OTHER-001"]}},
        lambda p: unrun_parts(p) == ["profile_ci: F-OTHER-001"],
    ),
    "trace_payload.enabled": ({"trace_payload": {"enabled": True}}, block("trace_payload", enabled=True)),
    "trace_payload.prompt": ({"trace_payload": {"enabled": True, "prompt": "x"}}, block("trace_payload", prompt="x")),
    "trace_payload.gates": (
        {"trace_payload": {"enabled": True, "gates": ["F-NONE-001"]}},
        lambda p: unrun_parts(p) == ["trace_payload: F-NONE-001"],
    ),
    "contract_tests.invariants": (
        {"contract_tests.invariants": ["I-3"]},
        lambda p: p.contract_invariants == ("I-1", "I-3"),
    ),
    **{
        f"hf_parity.{name}": (
            {"hf_parity": {"enabled": True, "corpus": "golden", "tolerance": "fp16", "gates": []}},
            lambda p: "hf_parity" in p.blocks and p.blocks["hf_parity"]["tolerance"] == "fp16",
        )
        for name in ("enabled", "corpus", "tolerance", "gates")
    },
    "ollama_parity.enabled": ({"ollama_parity.enabled": True}, block("ollama_parity", model_tag="Name-1.5B:latest")),
    **{
        f"ollama_parity.{name}": (
            {"ollama_parity": {"enabled": True, name: value}},
            block("ollama_parity", **{name: value}),
        )
        for name, value in {
            "model_tag": "x:7b", "quantizations": ["q8_0"], "prompts": ["a"], "temperature": 0.5, "min_perf_ratio": 0.1,
            "gates": ["G"],
        }.items()
    },
    "kernel_profile.family": warned("kernel_profile.family", "no-such-family"),
    "kernel_profile.kernel_ops": warned("kernel_profile.kernel_ops", ["Rope"], **{"kernel_profile.family": "qwen2"}),
    "kernel_profile.prompt_count": warned("kernel_profile.prompt_count", 9),
    "kernel_profile.long_context": warned(
        "kernel_profile.long_context", False,
        **{"kernel_profile.family": "qwen2", "test_matrix.prompts": ["What is 123*456? Work step by step."]},
    ),
    "metadata": ({"metadata": {"tier": "deep", "mine": 1}}, lambda p: p.tier == "deep" and p.metadata["mine"] == 1),
    **{
        f"mvp_matrix.[].{name}": (
            {"mvp_matrix": CELLS},
            lambda p: [s.prompt for s in expand(p)] == [f"{s.format} {s.backend} {s.modality}" for s in expand(p)],
        )
        for name in CELLS[0]
    },
    "verification_tests": listed("verification_tests", [{"id": "V-1"}]),
    "verification_gates": listed("verification_gates", [{"id": "V-1"}]),
    "reproduction": listed("reproduction", {"command": "apr run"}),
    "expected": listed("expected", {"exit_code": 0}),
    "acceptance": listed("acceptance", {"no_nan_values": True}),
    "regression_tests": listed("regression_tests", ["one"]),
    "tools_required": listed("tools_required", ["diff"]),
}  # fmt: skip
# Blocks that may hold anything, by design: their own keys are not checked here.
FREE = {"metadata", "verification_tests", "verification_gates", "reproduction", "expected", "acceptance"}


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        node = schema()["$defs"][node["$ref"].rsplit("/", 1)[1]]
    return node


def leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Dotted paths of all fields of the schema; members of a composite oracle are oracles again."""
    node = resolved(node)
    items = node.get("items")
    found = [leaf for key, inner in node.get("properties", {}).items() for leaf in leaves(inner, (*path, key))]
    if isinstance(items, dict) and resolved(items).get("properties") and path.count("oracles") < 2:
        found += leaves(items, (*path, "[]"))
    return found or [".".join(path)]


def test_the_table_has_every_field_of_the_schema_and_no_other():
    assert sorted(FIELDS) == sorted(set(leaves(schema())))


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_a_field_has_its_effect(tmp_path, field):
    changes, effect = FIELDS[field]
    with_it = load_data(tmp_path, changed(changes))
    assert effect(with_it), field
    without = load_data(tmp_path, changed({}))
    with contextlib.suppress(KeyError, IndexError, TypeError):  # no such block at all
        assert not effect(without), f"{field}: the effect is there without the field too"


@pytest.mark.parametrize("field", sorted(set(FIELDS) - FREE))
def test_a_wrong_value_is_an_error_with_line_and_column(tmp_path, field):
    changes, _ = FIELDS[field]
    data = copy.deepcopy(changed(changes))
    keys = [0 if key == "[]" else key for key in field.split(".")]
    place: Any = data
    for key in keys[:-1]:
        place = place[key] if isinstance(key, int) or not isinstance(place, dict) else place.setdefault(key, {})
    place[keys[-1]] = None
    path = tmp_path / "wrong.playbook.yaml"
    text = yaml.safe_dump(data, sort_keys=False)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlaybookError) as caught:
        load_playbook(path)
    line = next(line for line in caught.value.faults if f" {shown_path(tuple(keys))}: " in line)
    number, column = map(int, line.removeprefix(f"{path}:").split(":")[:2])
    assert text.splitlines()[number - 1][column - 1 :].lstrip("- ").startswith(f"{keys[-1]}:")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.family": "qwen2", "model.size_variant": "9b"}, "model.size_variant: is no published size of qwen2"),
        (
            {"model.family": "qwen2", "model.size_variant": "7b", "model.expected_hidden_dim": 3585},
            "model.expected_hidden_dim: is 3584 in qwen2 7b (found 3585)",
        ),
    ],
)
def test_a_size_that_contradicts_the_published_one_is_refused(tmp_path, changes, words):
    with pytest.raises(PlaybookError) as caught:
        load_data(tmp_path, changed(changes))
    assert words in str(caught.value)
    assert caught.value.line is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.size_variant": "7b"}, "model.size_variant: says nothing without family"),
        ({"model.family": "lama", "model.size_variant": "8b"}, "model.family: is not in the table of families"),
    ],
)
def test_a_family_that_cannot_be_checked_is_a_warning(tmp_path, changes, words):
    (warning,) = load_data(tmp_path, changed(changes)).warnings
    assert words in warning


def test_a_size_that_no_table_has_is_visible_as_not_proven(tmp_path):
    playbook = load_data(tmp_path, changed({"model.family": "llama", "model.size_variant": "8b"}))
    assert unrun_parts(playbook) == ["model.size_variant"]
    given = {"model.family": "llama", "model.size_variant": "8b", "model.expected_hidden_dim": 4096}
    assert unrun_parts(load_data(tmp_path, changed(given))) == []
