"""`.provenance.json`: written whole, read back, refused with one line when it is not what it should be."""

from __future__ import annotations

import pytest

from pytest_aprqa.models import provenance
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.provenance import PROVENANCE_FILE, read_provenance, write_provenance

DOCUMENT = {
    "source": {"format": "safetensors", "path": "model.safetensors", "sha256": "ab" * 32},
    "derived": [{"format": "gguf", "path": "größe.gguf", "sha256": "cd" * 32, "converter": "apr-cli"}],
}


def test_what_is_written_is_read(tmp_path):
    assert write_provenance(tmp_path, DOCUMENT) == tmp_path / PROVENANCE_FILE
    assert read_provenance(tmp_path) == DOCUMENT
    assert [path.name for path in tmp_path.iterdir()] == [PROVENANCE_FILE]


def test_no_file_is_no_provenance(tmp_path):
    assert read_provenance(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_not_json_is_refused(tmp_path, content):
    (tmp_path / PROVENANCE_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"\.provenance\.json: file: is not JSON"):
        read_provenance(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"source": []}', "null"])
def test_a_document_without_a_source_is_refused(tmp_path, content):
    (tmp_path / PROVENANCE_FILE).write_text(content)
    with pytest.raises(ModelError, match=r"source: is missing; write source\{format, path, sha256\}"):
        read_provenance(tmp_path)
    with pytest.raises(ModelError, match="source: is missing"):
        write_provenance(tmp_path, {"derived": []})


def test_a_document_is_read_up_to_the_limit(tmp_path, monkeypatch):
    size = write_provenance(tmp_path, DOCUMENT).stat().st_size
    monkeypatch.setattr(provenance, "LARGEST", size)
    read_provenance(tmp_path)
    monkeypatch.setattr(provenance, "LARGEST", size - 1)
    with pytest.raises(ModelError, match=f"is too large .found {size}, limit {size - 1}"):
        read_provenance(tmp_path)


def test_a_place_that_cannot_be_written_is_one_error(tmp_path):
    with pytest.raises(ModelError, match="file: cannot be written"):
        write_provenance(tmp_path / "absent", DOCUMENT)
