"""Each conversion gate is seen to fail: a converter that really damages what it writes, one format at a time."""

from __future__ import annotations

import pytest

from tests.plugin.test_gateways_fail import prepare, red

# The converter of one format applies a defect of the catalogue to every file that it writes.
CONFTEST = """
    from pathlib import Path
    from pytest_aprqa.defects.catalogue import apply_defect
    from pytest_aprqa.lifecycle import conversion_paths

    def damaged(source, path, **options):
        real(source, path, **options)
        sound = path.with_suffix(".sound")
        path.rename(sound)
        apply_defect("{defect}", sound, path)

    real = conversion_paths._WRITERS["{format}"]
    conversion_paths._WRITERS["{format}"] = damaged
"""
TO_SAFETENSORS = """
    from pytest_aprqa.lifecycle import conversion_paths

    def damaged(artifact, folder, **options):
        written = real(artifact, folder, **options)
        path = written / "model.safetensors"
        data = bytearray(path.read_bytes())
        data[-2] = (data[-2] + 16) % 256  # of the last value, not undone when it is done twice
        path.write_bytes(data)
        return written

    real = conversion_paths.write_safetensors_from
    conversion_paths.write_safetensors_from = damaged
"""
ONE_WAY_ONLY = (
    TO_SAFETENSORS
    + """
    def last_step(start, step, folder, **options):
        conversion_paths.write_safetensors_from = damaged if step == "safetensors" else real
        return real_step(start, step, folder, **options)

    real_step = conversion_paths.convert_once
    conversion_paths.convert_once = last_step
"""
)
CASES = {
    "gguf": (CONFTEST.format(defect="gguf-tensor-scaled", format="gguf"), {"S-G", "A-G", "RT-001", "RT-002"}, "scaled"),
    "apr": (
        CONFTEST.format(defect="apr-rope-theta-wrong", format="apr"),
        {"S-A", "G-A", "RT-003", "RT-004", "RT-006"},
        "another rope_theta",
    ),
    "safetensors": (TO_SAFETENSORS, {"G-S", "A-S", "RT-005", "RT-BYTE-001"}, "part of the values"),
    "one way only": (ONE_WAY_ONLY, {"G-S", "A-S", "COM-001"}, "part of the values"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_converter_that_damages_one_format_trips_its_edges_and_paths(project, name):
    conftest, expected, words = CASES[name]
    project.pytester.makeconftest(conftest)
    path = project.write_playbook(
        model={"formats": ["safetensors", "apr", "gguf"]}, test_matrix={"modalities": ["run"]}
    )
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "conversion_preserves")
    failures = {node.partition("[")[2].rstrip("]"): e for node, e in red(project.evidence()).items()}
    assert expected <= set(failures), sorted(failures)
    for conversion in expected:
        assert failures[conversion]["gate_id"] == f"F-CONV-{conversion}"
        assert failures[conversion]["severity"] == "P0"
    assert any(words in failures[conversion]["reason"] for conversion in expected), failures
    untouched = {
        "gguf": {"S-A", "A-S"},
        "apr": {"S-G", "G-S"},
        "safetensors": {"S-A", "S-G"},
        "one way only": {"S-A", "S-G", "G-A"},
    }[name]
    assert not untouched & set(failures), "a conversion without the damaged step turned red"


@pytest.mark.parametrize(
    ("gate", "item"),
    [
        ("F-CONV-CARD-001", "test_no_tensor_is_lost[gguf]"),
        ("F-CONV-NAME-001", "test_no_tensor_is_renamed_or_fused[gguf]"),
    ],
)
def test_a_lost_tensor_is_counted_and_named(project, work_cache, gate, item):
    path = prepare(project, "gguf-tensor-missing", work_cache)
    project.run(f"--playbook={path}", "--tb=no", "-q", "-k", "lost or renamed")
    failures = red(project.evidence())
    assert failures[item]["gate_id"] == gate
    assert "model.norm.weight" in failures[item]["reason"] or "cardinality loss" in failures[item]["reason"]
