"""No field is ignored: a module outside the loading reads it, or a skipped item says that it is not run."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import pytest_aprqa
from pytest_aprqa.playbooks.blocks import unrun_parts
from tests.playbooks.playbook_texts import changed, load_data
from tests.playbooks.test_every_field import FIELDS

# Field, or the start of several -> module outside `playbooks` that acts on it, and the words by which it reads it where
# they are not the last part of the field's name. test_every_field shows the value in the playbook; this, who asks.
SCENARIOS = ("item_evidence.py", "scenario")
READERS: dict[str, tuple[str, ...]] = {
    "name": ("item_evidence.py",),
    "model.hf_repo": ("model_under_test.py",),
    "model.local_path": ("model_under_test.py",),
    "model.formats": ("collection.py",),
    "model.quantizations": ("suite/test_contract_invariants.py",),
    "model.size_category": ("suite/test_integrity.py",),
    "model.expected_": ("suite/test_integrity.py", "expected"),
    "model.family": ("suite/test_integrity.py", "expected"),
    "model.size_variant": ("suite/test_integrity.py", "expected"),
    "test_matrix.modalities": ("suite/test_modalities.py",),
    "test_matrix.backends": ("collection.py",),
    "test_matrix.scenario_count": SCENARIOS,
    "test_matrix.prompts": ("reference_answers.py",),
    "test_matrix.seed": ("item_evidence.py",),
    "test_matrix.timeout_ms": ("run_settings.py",),
    "test_matrix.max_tokens": ("engine_pool.py",),
    "mvp_matrix.[].": SCENARIOS,
    "gates.": ("item_selection.py",),
    "oracles.[].": ("oracles/selection.py",),
    "failure_policy": ("run_settings.py",),
    "metadata": ("run_settings.py", "tier"),
    "contract_tests.invariants": ("item_selection.py", "contract_invariants"),
    "differential_tests.format_validation.checks": ("suite/test_format_rules.py",),
    "differential_tests.tensor_diff.filter": ("suite/test_differential.py",),
    "differential_tests.fingerprint.tensors": ("suite/test_differential.py",),
    "differential_tests.fingerprint.stats": ("suite/test_differential.py",),
    "differential_tests.inference_compare.": ("suite/test_engine_differential.py",),
    "differential_tests.validate_stats.": ("suite/test_reference_statistics.py",),
    "profile_ci.warmup": ("suite/speed_profile.py",),
    "profile_ci.measure": ("suite/speed_profile.py",),
    "profile_ci.baseline": ("suite/test_profile.py",),
    "profile_ci.formats": ("suite/test_profile.py",),
    "profile_ci.backends": ("suite/test_profile.py",),
    "profile_ci.assertions.min_throughput": ("suite/test_performance.py", "min_throughput"),
    "profile_ci.assertions.max_": ("suite/test_profile.py",),
    "property_tests.[].": ("suite/test_properties.py",),
    "property_tests.cases": ("suite/test_properties.py", "count"),
    "property_tests.max_shrink_iters": ("suite/test_properties.py", "shrinks"),
    "falsification_gates.[].": ("suite/test_falsification_gates.py",),
    "falsification_gates.[].severity": ("collection.py",),
    "trace_payload.prompt": ("suite/test_trace_payload.py",),
    "hf_parity.": ("suite/test_golden_corpus.py",),
    "ollama_parity.": ("suite/test_ollama_parity.py",),
}
# For people: the report and the file show it, nothing runs by it.
FOR_PEOPLE = {"version", "description", "kernel_profile"}


def reader_of(field: str) -> tuple[str, tuple[str, ...]] | None:
    """(module, words), None for what the table does not name; the longest start that fits counts."""
    starts = [start for start in READERS if field == start or (start[-1] in "._" and field.startswith(start))]
    starts += [start for start in READERS if start.endswith("min_throughput") and field.startswith(start)]
    if not starts:
        return None
    module, *words = READERS[max(starts, key=len)]
    return module, tuple(words) or (field.rpartition(".")[2],)


def words_read(module: str) -> set[str]:
    """Attributes that a module of the package reads, and the texts in its code (keys of mappings, parts of f-texts)."""
    tree = ast.parse((Path(pytest_aprqa.__file__).parent / module).read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in docstrings]
    return found | {part for node in texts if isinstance(node.value, str) for part in re.split(r"_?\.|_$", node.value)}


def is_switch(field: str) -> bool:
    """`enabled` and `gates` of a block: the collection asks for them (is_configured, unrun_parts)."""
    return field.rpartition(".")[2] in ("enabled", "gates") and field.count(".") >= 1


def is_said_to_be_unrun(tmp_path: Path, field: str) -> bool:
    """A skipped item says that nothing of the block is proven."""
    changes, _ = FIELDS[field]
    parts = unrun_parts(load_data(tmp_path, changed(changes)))
    return field.partition(".")[0] in parts


@pytest.mark.parametrize("field", sorted(FIELDS))
def test_a_field_has_a_reader_outside_the_loading(tmp_path, field):
    if field.partition(".")[0] in FOR_PEOPLE or is_switch(field) or is_said_to_be_unrun(tmp_path, field):
        return
    reader = reader_of(field)
    assert reader is not None, f"{field}: no module is known to read it, and nothing says that it is not run"
    module, words = reader
    missing = set(words) - words_read(module)
    assert not missing, f"{field}: {module} does not read {', '.join(sorted(missing))}"


def test_the_table_of_readers_has_no_row_too_many():
    used = {reader_of(field) for field in FIELDS}
    for start, (module, *words) in READERS.items():
        assert any(row is not None and row[0] == module and (not words or row[1] == tuple(words)) for row in used), (
            start
        )
