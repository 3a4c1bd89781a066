"""`aprqa check`: the same file passes, each kind of damage is named at its place, and what was not tried is said."""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from psutil import virtual_memory

from pytest_aprqa.artifact_check import PROMPTS, CheckResult, Finding, check, format_of
from pytest_aprqa.cli.check import CheckProgress
from pytest_aprqa.cli.main import call
from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.defects.index_operations import split_in_shards
from pytest_aprqa.defects.stored_tensors import change_values
from pytest_aprqa.formats.read_ahead import ReadAhead
from pytest_aprqa.lifecycle.derive import derive
from tests.plugin.conftest import TINY_MODEL


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("check-cache")


@pytest.fixture(scope="module")
def files(cache):
    """A clean file of each format and of one quantised type."""
    made = {f: derive(TINY_MODEL, f, cache=cache).path for f in ("gguf", "apr")}
    made["q8_0"] = derive(TINY_MODEL, "gguf", cache=cache, dtype="q8_0").path
    return made | {"safetensors": shutil.copytree(TINY_MODEL, cache / "copy")}


@pytest.fixture(autouse=True)
def _environment(monkeypatch, cache):
    monkeypatch.setenv("APRQA_CACHE", str(cache))


def test_clean_files_of_every_format_are_not_refuted_without_an_engine(files, capsys):
    paths = [str(path) for path in files.values()]
    assert call(["check", *paths, "--against", str(TINY_MODEL), "--depth", "tokens", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verdict"] == "not refuted"
    assert answer["findings"] == []
    assert [row["path"] for row in answer["artifacts"]] == paths
    for path in paths:
        tried = {row["gate"] for row in answer["tried"] if row["artifact"] == path}
        assert {f"F-CONTRACT-I{n}-001" for n in (2, 3, 4, 5)} | {"G0-INTEGRITY-SOURCE", "G0-LAYOUT-001"} <= tried
    assert {row["depth"] for row in answer["not_tried"]} == {"logits", "text"}


def test_a_clean_file_is_not_refuted_at_any_depth(files, capsys):
    assert call(["check", str(files["gguf"]), "--against", str(TINY_MODEL)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("NOT REFUTED")
    assert "tried logits" in text
    assert "tried text" in text
    assert "F-CONTRACT-I1-001" in text
    assert "not tried" not in text


# defect -> (gate, words of `where`, words of the cause)
CASES = {
    "gguf-tensor-scaled": ("F-CONTRACT-I4-001", "model.layers.0.mlp.down_proj.weight", "scaled by about 1.25"),
    "gguf-token-types-lost": ("F-CONTRACT-I5-001", "token types", "token types lost"),
    "apr-type-fallback": ("F-CONTRACT-I3-001", "model.layers.0", "silent fall-back to a wider float"),
    "apr-rope-theta-wrong": ("G0-INTEGRITY-SOURCE", "rope_theta", "another rope_theta"),
    "gguf-tensor-renamed": ("F-CONTRACT-I2-001", "model.layers.0.mlp.down_proj.weight", "lost or renamed"),
    "gguf-nan-in-tensor": ("G0-VALIDATE-001", "blk.0.ffn_down.weight", "NaN or infinite"),
    "gguf-projection-transposed": ("G0-LAYOUT-001", "proj", "transposed"),
    "apr-data-bit-flipped": ("G0-INTEGRITY-FILE", "", "checksum"),
}


def test_each_damage_is_named_with_gate_place_and_cause(files, tmp_path):
    broken = {}
    for name in CASES:
        format_name = name.partition("-")[0]
        broken[name] = apply_defect(name, files[format_name], tmp_path / f"{name}.{format_name}")
    result = check(list(broken.values()), TINY_MODEL, "tokens")
    assert result.exit_code == 1
    for name, (gate, where, cause) in CASES.items():
        findings = [f for f in result.findings if f.artifact == str(broken[name])]
        assert any(f.gate == gate and where in f.where and cause in f.cause for f in findings), (name, findings)
        assert result.verdict_of(str(broken[name])) == "refuted"


def test_an_embedding_kept_in_float32_by_a_4_bit_file_is_a_silent_fall_back(files, tmp_path):
    path = apply_defect("apr-type-fallback", files["apr"], tmp_path / "fallback.apr")
    result = check([path], TINY_MODEL, "structure")
    (finding,) = [f for f in result.findings if f.gate == "F-CONTRACT-I3-001"]
    assert (finding.found, finding.limit) == ("F32 in the artifact", "BF16 in the source")


def test_a_file_under_another_name_is_told_by_its_bytes(files, tmp_path, capsys):
    blob = tmp_path / "0abd66560caf 508e"
    blob.symlink_to(files["gguf"])
    assert format_of(blob) == "gguf"
    assert call(["check", str(blob), "--against", str(TINY_MODEL), "--depth", "structure"]) == 0
    assert f"NOT REFUTED: {blob}" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.safetensors", "other.safetensors"])
def test_a_file_under_the_name_of_another_format_is_judged_by_itself(name, files, tmp_path, capsys):
    """Not by the file of its own format that happens to lie beside it, nor as what its name says."""
    file = tmp_path / name
    apply_defect("apr-tensor-scaled", files["apr"], tmp_path / "scaled.apr").rename(file)
    shutil.copyfile(files["apr"], tmp_path / "model.apr")
    shutil.copyfile(files["apr"], tmp_path / "other.apr")
    assert call(["check", str(file), "--against", str(TINY_MODEL), "--depth", "weights"]) == 1
    text = capsys.readouterr().out
    assert text.startswith(f"REFUTED: {file} (an APR file named .safetensors) as ")
    assert "scaled by about 1.25" in text
    assert call(["check", str(file), "--against", str(TINY_MODEL), "--depth", "structure", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["artifacts"][0]["format"] == "apr"


def test_of_a_single_file_and_shards_the_one_that_loaders_take_is_judged(tmp_path):
    """A damaged model.safetensors beside sound shards is what engines load; shards without an index are no model."""
    both, lone = tmp_path / "both", tmp_path / "lone"
    for folder in (both, lone):
        shutil.copytree(TINY_MODEL, folder)
        split_in_shards(folder)
    (lone / "model.safetensors.index.json").unlink()
    shutil.copyfile(TINY_MODEL / "model.safetensors", both / "model.safetensors")
    change_values(both, "model.layers.0.mlp.down_proj.weight", lambda values: values * 2)
    result = check([both, lone], TINY_MODEL, "weights")
    found = {(f.artifact, f.gate, f.cause) for f in result.findings}
    assert (str(both), "F-CONTRACT-I4-001", "scaled by about 2") in found
    assert (str(lone), "G0-INTEGRITY-FILE", "the index of the shards is missing") in found


def test_a_source_without_a_tokenizer_says_nothing_of_tokens(files, tmp_path, capsys):
    """Names and weights are compared; that the tokens were is not said, although a gate of that depth passed."""
    source = tmp_path / "source"
    shutil.copytree(TINY_MODEL, source)
    (source / "tokenizer.json").unlink()
    command = ["check", str(files["gguf"]), "--against", str(source), "--json", "--depth"]
    assert call([*command, "weights"]) == 0
    capsys.readouterr()
    assert call([*command, "tokens"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verdict"], answer["findings"]) == ("not tried", [])
    assert answer["artifacts"][0]["tried_up_to"] == "weights"
    assert any("the source's tokenizer cannot be read" in row["reason"] for row in answer["not_tried"])


def test_a_damaged_safetensors_folder_is_compared_with_the_other_folder(tmp_path):
    path = apply_defect(_safetensors_defect(), TINY_MODEL, tmp_path / "model")
    result = check([path], TINY_MODEL, "weights")
    assert result.verdict == "refuted"
    copy = shutil.copytree(TINY_MODEL, tmp_path / "copy")
    assert check([copy], TINY_MODEL, "weights").verdict == "not refuted"


@pytest.mark.parametrize("named", [".", "model.safetensors"])
def test_a_source_is_not_compared_with_itself(named, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(TINY_MODEL, target_is_directory=True)
    result = check([link / named], TINY_MODEL, "structure")
    assert (result.verdict, result.exit_code) == ("not tried", 2)
    assert "is the source itself" in result.not_tried[0]["reason"]


def _safetensors_defect():
    from pytest_aprqa.defects.catalogue import DEFECTS

    return next(n for n, d in DEFECTS.items() if d.format == "safetensors" and "scaled" in n)


@pytest.mark.parametrize(
    ("artifact", "against", "words"),
    [
        ("absent.gguf", TINY_MODEL, "absent.gguf: no such file"),
        ("empty", TINY_MODEL, "a folder without SafeTensors"),
        ("page.gguf", "absent", "absent: no such folder"),
        ("page.gguf", "empty", "no SafeTensors model there"),
    ],
)
def test_what_cannot_be_tried_says_why(artifact, against, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "page.gguf").write_text("<html>")
    assert call(["check", artifact, "--against", str(against)]) == 2
    text = capsys.readouterr().out
    assert text.startswith("NOT TRIED")
    assert words in text


def test_a_source_whose_configuration_is_lost_cannot_be_compared_with(tmp_path, files, capsys):
    folder = tmp_path / "source"
    shutil.copytree(TINY_MODEL, folder)
    (folder / "config.json").unlink()
    assert call(["check", str(files["gguf"]), "--against", str(folder)]) == 2
    assert "config.json" in capsys.readouterr().out


def test_a_page_that_is_no_model_is_refuted_with_the_rest_blocked(tmp_path):
    path = tmp_path / "page.gguf"
    path.write_text("<html>not found</html>")
    result = check([path], TINY_MODEL, "structure")
    assert [f.gate for f in result.findings] == ["G0-INTEGRITY-FILE"]
    assert "HTML" in result.findings[0].cause
    assert all(row["reason"].startswith(("blocked", "not asked")) for row in result.not_tried)


def test_one_missing_file_does_not_hide_the_verdict_on_the_other(files, tmp_path):
    result = check([tmp_path / "absent.gguf", files["gguf"]], TINY_MODEL, "structure")
    assert result.verdict_of(str(files["gguf"])) == "not refuted"
    assert result.verdict_of(str(tmp_path / "absent.gguf")) == "not tried"
    assert (result.verdict, result.exit_code) == ("not tried", 2)


def test_a_refutation_outweighs_what_could_not_be_tried():
    result = CheckResult("source", "text", artifacts=["a", "b"])
    assert result.verdict == "not tried"
    result.findings.append(Finding("b", "G", "cause", "where", 1, 0, "message"))
    assert (result.verdict, result.exit_code) == ("refuted", 1)
    assert CheckResult("source", "text").verdict == "not tried", "nothing looked at is nothing proven"


def test_weights_and_tokens_are_compared_without_torch(files, cache):
    """The libraries of the engines are not even importable, and nothing changes."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    playbook = cache / "plain.playbook.yaml"
    model = {"hf_repo": "a/b", "local_path": str(files["gguf"]), "formats": ["gguf"], "quantizations": ["declared"]}
    playbook.write_text(
        json.dumps(
            {
                "name": "plain",
                "version": "1.0.0",
                "model": model,
                "test_matrix": {
                    "modalities": ["run"],
                    "backends": ["cpu"],
                    "scenario_count": len(PROMPTS),
                    "prompts": list(PROMPTS),
                },
            }
        )
    )
    run = subprocess.run(
        [sys.executable, "-c", code, "-p", "no:cacheprovider", "--playbook", str(playbook), "--depth", "tokens",
         "--against", str(TINY_MODEL), "--evidence-dir", str(cache / "plain"), "-q"],
        capture_output=True, text=True, cwd=cache, env=os.environ | {"PYTEST_ADDOPTS": ""}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_an_unknown_depth_is_wrong_use(capsys):
    assert call(["check", "a", "--against", "b", "--depth", "bottom"]) == 2
    assert "bottom" in capsys.readouterr().err


def test_a_file_of_few_bits_is_judged_as_such(cache, tmp_path):
    """Clean quantisation passes; a damaged row, a matrix left wide or made too narrow does not."""
    clean = {t: derive(TINY_MODEL, "gguf", cache=cache, dtype=t).path for t in ("q4_k", "q6_k")}
    broken = {
        "gguf-q4k-row-damaged": ("q4_k", "F-CONTRACT-I4-001", "part of the values changed: 1 rows"),
        "gguf-q4k-wider-fallback": ("q4_k", "F-CONTRACT-I3-001", "silent fall-back to a wider float"),
        "gguf-q6k-lower-fallback": ("q6_k", "F-CONTRACT-I3-001", "do not mix"),
    }
    made = {name: apply_defect(name, clean[t], tmp_path / f"{name}.gguf") for name, (t, _, _) in broken.items()}
    result = check([*clean.values(), *made.values()], TINY_MODEL, "weights")
    for path in clean.values():
        assert result.verdict_of(str(path)) == "not refuted", result.findings
    for name, (_, gate, cause) in broken.items():
        mine = [f for f in result.findings if f.artifact == str(made[name])]
        assert any(f.gate == gate and cause in f.cause and "down_proj" in f.where for f in mine), (name, mine)


def test_a_family_that_no_engine_knows_is_not_refuted_by_that(tmp_path):
    """Both declare the family that the engine cannot run: what can be compared is, the rest was not tried."""
    folder = tmp_path / "model"
    shutil.copytree(TINY_MODEL, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "nonesuch"}))
    result = check([folder], shutil.copytree(folder, tmp_path / "source"), "logits")
    assert result.findings == []
    assert (result.verdict, result.exit_code) == ("not tried", 2), "nothing was tried at the asked depth"
    assert result.tried_up_to(str(folder)) == "tokens"
    reasons = [row["reason"] for row in result.not_tried if row["gate"] == "G1-LOAD-001"]
    assert reasons
    assert reasons[0].startswith("no engine here runs this family")


def test_a_check_that_could_not_run_does_not_say_refuted(files, tmp_path, monkeypatch, capsys):
    """Exit code 1 is kept for a refuted artifact: a gate before a download reads it."""
    assert call(["check", os.devnull, "--against", str(TINY_MODEL)]) == 2
    assert "neither a file nor a folder" in capsys.readouterr().out
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert call(["check", str(files["gguf"]), "--against", str(TINY_MODEL)]) == 2
    assert capsys.readouterr().err.startswith("error: not tried: ")


_BREAKS = """
import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    yield
    if pyfuncitem.name.startswith("test_values_are_preserved"):
        raise KeyError("nobody foresaw this")
"""


def test_a_check_that_broke_is_no_pass_and_no_refutation(files, tmp_path, monkeypatch, capsys):
    (tmp_path / "breaking.py").write_text(_BREAKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTEST_PLUGINS", "breaking")
    assert call(["check", str(files["gguf"]), "--against", str(TINY_MODEL), "--depth", "tokens"]) == 2
    text = capsys.readouterr().out
    assert text.startswith("NOT TRIED")
    assert "tried up to structure, nothing refuted there; asked for: tokens" in text
    assert "F-CONTRACT-I4-001: KeyError" in text


def test_the_deepest_depth_that_was_tried_ends_before_a_check_that_could_not():
    result = CheckResult("source", "tokens", artifacts=["a"])
    assert result.tried_up_to("a") is None
    result.tried += [{"artifact": "a", "depth": depth} for depth in ("structure", "weights")]
    assert (result.tried_up_to("a"), result.verdict) == ("weights", "not tried"), "tokens were asked for"
    result.tried.append({"artifact": "a", "depth": "tokens"})
    assert (result.tried_up_to("a"), result.verdict) == ("tokens", "not refuted")
    result.not_tried.append({"artifact": "a", "depth": "weights", "reason": "blocked"})
    assert result.verdict == "not refuted", "what a check need not look at is no gap"
    result.not_tried.append({"artifact": "a", "depth": "weights", "reason": "KeyError", "could_not": True})
    assert (result.tried_up_to("a"), result.verdict) == ("structure", "not tried")
    result.findings.append(Finding("a", "G", "cause", "where", 1, 0, "message"))
    assert result.verdict == "refuted"


def test_an_event_without_words_ends_nothing():
    shown = []
    progress = CheckProgress(silent=True)
    progress._bar = SimpleNamespace(update=lambda task, **what: shown.append(what))
    progress({"event": "progress", "text": ""})
    progress({"event": "started", "node": "m.playbook.yaml::test_x[gguf]"})
    assert shown == [{"description": ""}, {"description": "test_x[gguf]"}]


def test_the_disk_reads_what_will_be_compared_while_the_run_starts(files, tmp_path, monkeypatch):
    """All bytes of both, each artifact beside the source, within half of the memory; shards as well as single files."""
    sharded, asked = tmp_path / "sharded", []
    shutil.copytree(TINY_MODEL, sharded)
    split_in_shards(sharded)

    class Recorded(ReadAhead):
        def __init__(self, parts, window):
            super().__init__([], window)
            asked.append((list(parts), window))

    monkeypatch.setattr("pytest_aprqa.formats.read_ahead.ReadAhead", Recorded)
    assert check([files["q8_0"], files["apr"]], sharded, "weights").exit_code == 0
    ((parts, window),) = asked
    expected = [files["q8_0"], files["apr"], *sorted(sharded.glob("*.safetensors"))]
    sizes = {path: sum(size for of, _, size in parts if of == path) for path in expected}
    assert sizes == {path: path.stat().st_size for path in expected}
    assert {path for path, _, _ in parts} == set(expected)
    assert [path for path, _, _ in parts].index(files["apr"]) == len(parts) - 1
    assert 0 < window <= virtual_memory().total / 2


def test_no_weights_are_read_ahead_where_only_the_structure_is_asked_for(files, monkeypatch):
    monkeypatch.setattr("pytest_aprqa.formats.read_ahead.ReadAhead", None)
    assert check([files["gguf"]], TINY_MODEL, "structure").exit_code == 0
    with pytest.raises(TypeError):
        check([files["gguf"]], TINY_MODEL, "weights")
