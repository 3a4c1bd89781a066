"""`--falsify-invariants`: sound models hold, planted defects are seen, counter-examples are kept and tried again."""

from __future__ import annotations

import json

import pytest

SHAPE = {"family": "qwen2", "layers": 1, "hidden": 33, "intermediate": 17, "heads": 2, "kv_heads": 1, "head_dim": 4}
SHAPE |= {"tied": False, "dtype": "F32", "merges": 3, "shards": 2, "extra_rows": 1}
SOUND = {"seed": 3, "shape": SHAPE, "format": "gguf", "dtype": "native", "defect": None}


@pytest.fixture
def run(project):
    """Run the option over the bundled playbook's switches with so many examples; the result and invariants.json."""
    path = project.write_playbook(model={"formats": ["safetensors", "gguf", "apr"]})

    def run(select, *arguments, examples=1):
        asked = ("--falsify-invariants", f"--falsify-invariants-examples={examples}", "-k", select, "-q")
        result = project.run(f"--playbook={path}", *asked, *arguments)
        written = project.path / "evidence/latest/invariants.json"
        return result, json.loads(written.read_text(encoding="utf-8"))["invariants"] if written.is_file() else None

    return run


def keep(project, name, example):
    folder = project.path / "counter-examples" / name
    folder.mkdir(parents=True)
    (folder / "kept.json").write_text(json.dumps({"example": example, "reason": "found once"}), encoding="utf-8")


def test_sound_models_hold_and_planted_defects_are_seen(run, project):
    keep(project, "clean-I-4", SOUND)
    keep(project, "planted-I-4", SOUND | {"defect": "gguf-tensor-scaled"})
    result, rows = run("I-4")
    result.assert_outcomes(passed=2)
    assert {row["name"]: row["verdict"] for row in rows} == {"clean-I-4": "held", "planted-I-4": "held"}
    assert all(row["examples"] >= 1 for row in rows)
    result.stdout.fnmatch_lines(["clean-I-4: held, * models", "planted-I-4: held, *"])


def test_a_defect_that_no_invariant_sees_fails(run, project):
    keep(project, "planted-I-5", SOUND | {"defect": "gguf-rope-theta-wrong"})
    result, rows = run("planted-I-5")
    assert result.ret == 1
    assert rows[0]["verdict"] == "error"
    result.stdout.fnmatch_lines(["*planted-I-5*F-CONTRACT-I5-001* did not see it*"])


def test_a_defect_that_another_invariant_sees_is_counted_apart(run, project):
    # Found by this option itself: with a head of its own the flood changes a tensor, without one it adds a tensor.
    keep(project, "planted-I-2", SOUND | {"defect": "gguf-padding-flood", "shape": SHAPE | {"tied": False}})
    result, rows = run("planted-I-2")
    assert result.ret == 0
    assert rows[0]["seen_by_others"] >= 1


def test_a_converter_with_a_fault_is_found_out_and_the_example_is_kept(run, project):
    fault = (
        "import pytest_aprqa.falsify.invariants as f\nimport pytest_aprqa.lifecycle.to_gguf as g\n"
        "f.SHORTENING_SECONDS = 1.0\ng.permute_rows = lambda data, heads: data\n"
    )
    (project.path / "conftest.py").write_text(fault, encoding="utf-8")
    result, rows = run("clean-I-4", examples=30)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*a sound model is refuted: F-CONTRACT-I4-001*"])
    (kept,) = (project.path / "counter-examples/clean-I-4").glob("*.json")
    example = json.loads(kept.read_text(encoding="utf-8"))["example"]
    assert example["format"] == "gguf"
    assert example["shape"]["family"] in ("llama", "mistral")
    assert rows[0]["counter_example"] == str(kept)
    (project.path / "conftest.py").unlink()
    result, _ = run("clean-I-4")
    assert result.ret == 0, "the mended converter passes on the kept example too"


@pytest.mark.parametrize("text", ["0", "-1", "x", "1e3"])
def test_a_number_that_is_none_is_a_usage_error(run, text):
    result, _ = run("I-4", examples=text)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*--falsify-invariants-examples: found*limit a whole number from 1*"])


def test_a_damaged_counter_example_is_one_line(run, project):
    folder = project.path / "counter-examples/clean-I-4"
    folder.mkdir(parents=True)
    (folder / "x.json").write_text("{", encoding="utf-8")
    result, _ = run("clean-I-4")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*x.json: is no counter-example*remove it*"])
