"""Each provenance rule on a true record, and on one with exactly one lie."""

import copy
import hashlib

import pytest

from pytest_aprqa.suite.provenance_rules import RULES
from pytest_aprqa.suite.test_provenance import RULES as CHECKED

FORMATS = ("safetensors", "apr", "gguf")


@pytest.fixture
def model(tmp_path):
    """(folder with three files, a true record of them)."""
    entries = {}
    for name in FORMATS:
        path = tmp_path / f"model.{name}"
        path.write_bytes(name.encode())
        entries[name] = {"format": name, "path": path.name, "sha256": hashlib.sha256(name.encode()).hexdigest()}
    source = entries["safetensors"]
    derived = [
        entries[n] | {"converter": "apr-cli", "quantization": "bf16", "source_sha256": source["sha256"]}
        for n in ("apr", "gguf")
    ]
    return tmp_path, {"source": source, "derived": derived}


def problems(rule, document, folder):
    return RULES[rule][0](document, folder, FORMATS)


def test_a_true_record_breaks_no_rule(model):
    folder, document = model
    assert {rule: problems(rule, document, folder) for rule in RULES} == {rule: [] for rule in RULES}
    assert set(CHECKED) == set(RULES)


def lie(document, rule):
    changed = copy.deepcopy(document)
    derived = changed["derived"]
    if rule == "PROV-001":
        derived[1]["source_sha256"] = "0" * 64
    elif rule == "PROV-002":
        derived[1]["converter"] = "llama.cpp"
    elif rule == "PROV-003":
        changed["source"]["format"] = "gguf"
    elif rule == "PROV-005":
        derived[1]["quantization"] = "q4_k_m"
    elif rule == "PROV-006":
        derived[0]["sha256"] = "0" * 64
    elif rule == "PROV-007":
        derived[0]["path"] = "absent.apr"
    elif rule == "PROV-008":
        derived.append(dict(derived[0]))
    elif rule == "PROV-009":
        del derived[0]
    return changed


@pytest.mark.parametrize("rule", RULES)
def test_a_lie_breaks_its_own_rule_and_no_other(model, rule):
    folder, document = model
    changed = lie(document, rule)
    # A source of another format is no longer listed under its own.
    also = {"PROV-009"} if rule == "PROV-003" else set()
    assert {r for r in RULES if problems(r, changed, folder)} == {rule} | also


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "", 7, None])
def test_a_path_that_leads_out_of_the_folder_is_no_file_of_the_record(model, path):
    folder, document = model
    document["derived"][0]["path"] = path
    assert problems("PROV-007", document, folder)
    assert problems("PROV-006", document, folder) == []


def test_our_own_converter_is_accepted(model):
    folder, document = model
    document["derived"][0]["converter"] = "pytest-aprqa/1"
    assert problems("PROV-002", document, folder) == []
