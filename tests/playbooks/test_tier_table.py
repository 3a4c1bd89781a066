"""Tiers are data: a changed file changes what runs and passes, a broken one is one clear error with its place."""

import hashlib
import json
import re
import subprocess
import sys

import pytest
import yaml

from pytest_aprqa.playbooks import tiers as module
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.scenarios import expand
from pytest_aprqa.playbooks.tiers import TIERS_FILE, parse_tier, read_tiers, tier_table, tier_words
from tests.playbooks.playbook_texts import changed, load_data

# Raise `version` in tiers.yaml with every change, say in `history` what changed, then write the digest here.
DIGESTS = {"1": "8aca220881842dd7", "2": "afd8b71c7e615c8f"}


def table() -> dict:
    return yaml.safe_load(TIERS_FILE.read_text(encoding="utf-8"))


@pytest.fixture
def other_file(tmp_path, monkeypatch):
    """Writes another table of tiers and makes it the one that is read."""

    def write(change):
        data = table()
        change(data)
        path = tmp_path / "tiers.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
        monkeypatch.setattr(module, "TIERS_FILE", path)
        tier_table.cache_clear()
        return path

    yield write
    tier_table.cache_clear()


def kept(tmp_path, name):
    scenarios = expand(load_data(tmp_path, changed({"test_matrix.scenario_count": 12})))
    tier = parse_tier(name)
    return [tier.reason_to_leave_out(s.format, s.backend, s.modality, s) for s in scenarios].count(None)


def test_a_changed_table_needs_a_new_version():
    data = table()
    history = data.pop("history")
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
    assert DIGESTS.get(data["version"]) == digest
    assert list(history) == [str(n) for n in range(1, int(data["version"]) + 1)]


def test_words_at_the_end_of_a_name():
    assert tier_words() == {"mvp", "smoke", "quick", "ci", "full", "nightly", "release"}


def test_a_changed_file_changes_the_selection(tmp_path, other_file):
    assert kept(tmp_path, "smoke") == 3
    other_file(lambda data: data["tiers"][0].update(per_cell=2, modalities=["run", "chat"]))
    assert kept(tmp_path, "smoke") == 4
    other_file(lambda data: data["tiers"][0].pop("per_cell"))
    assert kept(tmp_path, "smoke") == 12


def test_a_changed_file_changes_words_and_names(tmp_path, other_file):
    def change(data):
        data["tiers"].append(table()["tiers"][-1] | {"name": "exhaustive", "threshold": 950})
        data["aliases"]["everything"] = "exhaustive"
        data["declared"]["nightly"] = "exhaustive"

    other_file(change)
    assert parse_tier("Everything").threshold == 950
    assert load_data(tmp_path, changed({"metadata.tier": "nightly"})).tier == "exhaustive"
    with pytest.raises(ValueError, match="Use: smoke, mvp, quick, standard, deep, exhaustive"):
        parse_tier("gold")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["tiers"][0].update(scenarios=0), r"tiers\[0\].scenarios: must be at least 1 \(found 0\)"),
        (lambda d: d["tiers"][0].update(threshold=1001), r"tiers\[0\].threshold: must be at most 1000 \(found 1001\)"),
        (lambda d: d["tiers"][0].update(per_cell=0), r"tiers\[0\].per_cell: must be at least 1"),
        (lambda d: d["tiers"][0].update(per_cel=1), r"tiers\[0\].per_cel: unknown key; did you mean `per_cell`"),
        (lambda d: d["tiers"][1].update(formats=["onnx"]), r"tiers\[1\].formats\[0\]: is not an accepted word"),
        (lambda d: d["tiers"][1].update(suffixes=["mvp"]), r"tiers\[1\].suffixes\[0\]: does not match"),
        (lambda d: d["tiers"][1].update(name="smoke"), r"tiers\[1\].name: is there already \(found 'smoke'\)"),
        (lambda d: d["tiers"][2].pop("source"), r"tiers\[2\].source: is missing"),
        (lambda d: d.update(default="gold"), r"default: is no tier \(found 'gold'\); tiers: smoke, mvp"),
        (lambda d: d["aliases"].update(all="gold"), r"aliases.all: is no tier \(found 'gold'\)"),
        (lambda d: d["declared"].update(mvp="deep"), r"declared.mvp: is a tier itself"),
        (lambda d: d.update(version="99"), r"history: lacks version 99"),
        (lambda d: d.update(tiers=[]), r"tiers: must have at least 1 item"),
    ],
)
def test_a_broken_file_is_one_line_with_its_place(other_file, change, said):
    path = other_file(change)
    with pytest.raises(PlaybookError, match=said) as caught:
        parse_tier("smoke")
    assert re.match(rf"{re.escape(str(path))}:\d+:\d+: ", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"),
        ("- smoke\n", "must be a mapping"),
        ("tiers: [\n", "tiers.yaml:"),
        (None, "is missing"),
    ],
)
def test_a_file_that_is_no_table(tmp_path, text, said):
    path = tmp_path / "tiers.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(PlaybookError, match=said):
        read_tiers(path)


PROGRAM = (
    "import pathlib, sys; import pytest_aprqa.playbooks.tiers as tiers; tiers.TIERS_FILE = pathlib.Path(sys.argv[1]);"
    "from pytest_aprqa.cli.main import main; main(sys.argv[2:])"
)


def test_certify_reads_the_file(tmp_path, other_file):
    """With the suffixes of `smoke` changed to those of mvp, the dry run finds the mvp playbook; with those of no
    playbook, none; broken, one line.
    """
    other = other_file(lambda data: data["tiers"][0].update(suffixes=["-mvp"]))
    none = tmp_path / "none.yaml"
    none.write_text(other.read_text(encoding="utf-8").replace("-mvp", "-other"), encoding="utf-8")
    broken = tmp_path / "broken.yaml"
    broken.write_text("version: one\n", encoding="utf-8")
    command = ["certify", "aprqa/tiny-qwen2", "--tier", "smoke", "--dry-run"]
    ran = {
        path: subprocess.run(
            [sys.executable, "-c", PROGRAM, str(path), *command],
            capture_output=True, text=True, timeout=60, cwd=tmp_path, check=False,
        )
        for path in (TIERS_FILE, other, none, broken)
    }  # fmt: skip
    assert "tiny-qwen2-smoke.playbook.yaml" in ran[TIERS_FILE].stdout
    assert "no playbook for tier smoke" in ran[none].stdout
    assert "Would certify: " in ran[other].stdout
    assert "tiny-qwen2-mvp.playbook.yaml" in ran[other].stdout
    assert ran[broken].returncode in (1, 2)
    assert len(ran[broken].stderr.strip().splitlines()) == 1
    assert "broken.yaml:" in ran[broken].stderr


def test_the_option_tier_of_a_run_reads_the_file(pytester, other_file):
    """`smoke` of an edited table leaves out what the packaged one runs, with the edited limit in the reason."""
    chosen = "test_output_is_not_garbage and safetensors and cpu"
    other_file(lambda data: data["tiers"][0].update(formats=["gguf"], modalities=["chat"]))
    result = pytester.runpytest_inprocess("--playbook", "tiny-qwen2-mvp", "--tier", "smoke", "-k", chosen, "-rs")
    text = result.stdout.str() + result.stderr.str()
    assert result.parseoutcomes().keys() <= {"skipped", "deselected", "warnings"}, text
    assert "tier smoke runs gguf only, not safetensors" in text


def test_the_defaults_of_the_commands_are_tiers():
    from pytest_aprqa.cli import bootstrap, certify

    options = {p.name: p.default for p in certify.command.params}
    assert options["tier"] == tier_table().default
    assert parse_tier(next(p.default for p in bootstrap.command.params if p.name == "tier"))
