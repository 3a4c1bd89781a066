import dataclasses
import json

import pytest

from pytest_aprqa.evidence.array_file import evidence_array, write_evidence_json
from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.log import EvidenceLog, read_json
from pytest_aprqa.evidence.record import Evidence

SCENARIO = {"id": "S", "model": {"org": "o", "name": "n"}, "format": "gguf", "backend": "cpu", "modality": "run"}


def entry(**fields) -> Evidence:
    return Evidence.corroborated(**({"gate_id": "F-A1-001", "scenario": SCENARIO} | fields))


def test_the_array_holds_the_log_in_order(tmp_path):
    entries = [entry(output=str(n)) for n in range(3)]
    with EvidenceLog(tmp_path / "evidence.jsonl") as log:
        for one in entries:
            log.append(one)
    path = write_evidence_json(tmp_path)
    assert path == tmp_path / "evidence.json"
    assert isinstance(json.loads(path.read_text()), list)
    assert list(read_json(path)) == entries
    assert path.read_text().startswith("[\n  {\n")


def test_given_entries_are_written_as_given(tmp_path):
    entries = [entry(output="b"), entry(output="a")]
    assert list(read_json(write_evidence_json(tmp_path, entries))) == entries


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"scenario": SCENARIO | {"backend": "tpu"}}, "0/scenario/backend"),
        ({"scenario": {}}, "0/scenario"),
        ({"id": "not a uuid"}, "0/id"),
        ({"timestamp": "yesterday"}, "0/timestamp"),
        ({"timestamp": "2026-01-31T00:00:00+02:00"}, "0/timestamp"),
        ({"severity": "P9"}, "0/severity"),
        ({"observed": [{"name": "x"}]}, "0/observed/0"),
        ({"metadata": {"order": 3}}, "0/metadata/order"),
    ],
)
def test_an_entry_that_breaks_the_schema_is_named_and_nothing_is_written(tmp_path, change, where):
    (tmp_path / "evidence.json").write_text("old")
    with pytest.raises(EvidenceError, match=where) as caught:
        write_evidence_json(tmp_path, [dataclasses.replace(entry(), **change)])
    assert "\n" not in str(caught.value)
    assert (tmp_path / "evidence.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["evidence.json"]


@pytest.mark.parametrize("stamp", ["2026-01-31T00:00:00Z", "2026-01-31T00:00:00.123456789+00:00"])
def test_both_spellings_of_utc_are_valid(stamp):
    (one,) = json.loads(evidence_array([entry(timestamp=stamp)]))
    assert one["timestamp"] == stamp


@pytest.mark.parametrize("name", ["0123456789abcdef" * 2, "12345678-1234-4234-8234-123456789abc"])
def test_both_spellings_of_an_id_are_valid(name):
    (one,) = json.loads(evidence_array([entry(id=name)]))
    assert one["id"] == name


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(EvidenceError, match="cannot be written"):
        write_evidence_json(tmp_path / "none", [entry()])
    with pytest.raises(EvidenceError, match="cannot be read"):
        write_evidence_json(tmp_path / "none")
