"""Artifacts: digests of exactly the bytes that lie there, and opening by the file's own declaration."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import pytest

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models import artifact as artifact_module
from pytest_aprqa.models.artifact import Artifact, describe_artifact, identify_by_state, open_artifact
from pytest_aprqa.models.errors import ModelError
from tests.formats.raw_files import good_gguf
from tests.model_fixtures import PROMPTS


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def test_fields_survive_json(tmp_path):
    made = Artifact("apr", tmp_path / "m.apr", "derived", "ab" * 32, "cd" * 32, "converter 1")
    assert Artifact.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_the_digest_is_that_of_the_file(random_qwen2_folder):
    path = random_qwen2_folder / "model.safetensors"
    described = describe_artifact(path, "safetensors")
    assert described.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (described.format, described.path, described.origin) == ("safetensors", path, "published")


def test_a_digest_is_computed_again_only_when_the_file_changed(random_qwen2_folder, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    shutil.copy(random_qwen2_folder / "model.safetensors", path)
    before = describe_artifact(path, "safetensors").sha256
    monkeypatch.setattr(artifact_module, "sha256_of", lambda paths: "computed again")
    assert describe_artifact(path, "safetensors").sha256 == before
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert describe_artifact(path, "safetensors").sha256 == "computed again"


def test_a_file_that_does_not_open_has_a_digest_all_the_same(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"no model")
    assert describe_artifact(path, "gguf").sha256 == hashlib.sha256(b"no model").hexdigest()


def test_what_is_not_there_is_a_model_error(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.apr: file: cannot be read"):
        describe_artifact(tmp_path / "absent.apr", "apr")
    with pytest.raises(ModelError, match=r"holds no \.apr file"):
        describe_artifact(tmp_path, "apr")


@pytest.mark.parametrize("format_name", ["apr", "gguf"])
@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_a_file_alone_says_what_its_source_says(request, family, format_name, cache, tmp_path):
    source = request.getfixturevalue(f"random_{family}_folder")
    alone = tmp_path / f"model.{format_name}"
    shutil.copy(derive(source, format_name, cache=cache).path, alone)
    with open_artifact(source, "safetensors") as theirs, open_artifact(alone) as ours:
        assert ours.format == format_name
        assert (ours.config.hidden_size, ours.config.rope_style) == (theirs.config.hidden_size, "half")
        assert [ours.tokenizer.encode(p) for p in PROMPTS] == [theirs.tokenizer.encode(p) for p in PROMPTS]
        assert set(theirs.tensors.names()) <= set(ours.tensors.names())


def test_companions_of_another_model_beside_a_file_do_not_count(
    random_llama_folder, random_qwen2_folder, cache, tmp_path
):
    shutil.copytree(random_qwen2_folder, tmp_path / "m")
    path = tmp_path / "m" / "model.gguf"
    shutil.copy(derive(random_llama_folder, "gguf", cache=cache).path, path)
    with open_artifact(path) as opened:
        assert opened.config.architecture == "llama"
        assert opened.tokenizer.bos_token == "<|begin_of_text|>"


def test_bytes_of_another_format_are_refused(random_qwen2_folder, tmp_path):
    path = tmp_path / "model.gguf"
    shutil.copy(random_qwen2_folder / "model.safetensors", path)
    with pytest.raises(ModelError, match=r"magic: is a file of another format .found safetensors, limit gguf"):  # noqa: SIM117
        with open_artifact(describe_artifact(path, "gguf")):
            pass


def test_declarations_are_read_when_asked_for(random_qwen2_folder, tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(random_qwen2_folder / "model.safetensors", path)
    with open_artifact(path) as opened:
        assert len(opened.file.entries) > 0
        with pytest.raises(ModelError, match=r"config\.json"):
            _ = opened.config
        with pytest.raises(ModelError, match=r"tokenizer\.json"):
            _ = opened.tokenizer


def test_a_sharded_model_is_digested_over_all_its_shards(tmp_path, random_qwen2_folder):
    import numpy
    from safetensors.numpy import save_file

    save_file({"a": numpy.zeros(3, "float32")}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": numpy.ones(3, "float32")}, tmp_path / "model-00002-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 24}, "weight_map": shards}))
    before = describe_artifact(index, "safetensors").sha256
    assert before == describe_artifact(index, "safetensors").sha256
    save_file({"b": numpy.full(3, 2, "float32")}, tmp_path / "model-00002-of-00002.safetensors")
    os.utime(tmp_path / "model-00002-of-00002.safetensors", ns=(0, 0))
    assert describe_artifact(index, "safetensors").sha256 != before


def test_a_file_of_the_same_size_and_times_is_hashed_again(tmp_path):
    """As `cp -p` and tools that set times leave it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(good_gguf())
    before, times = describe_artifact(path, "gguf").sha256, path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert describe_artifact(path, "gguf").sha256 != before


def test_files_told_by_their_state_are_not_hashed_and_tell_a_change(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_bytes(good_gguf())
    hashed = describe_artifact(path, "gguf").sha256
    monkeypatch.setattr(artifact_module, "_by_state", False)  # put back at the end
    monkeypatch.setattr(artifact_module, "sha256_of", lambda paths: pytest.fail("hashed"))
    identify_by_state()
    first, again = (describe_artifact(path, "gguf").sha256 for _ in range(2))
    assert first == again != hashed
    assert first.startswith("state-"), "nobody may take it for a hash"
    other = tmp_path / "other.gguf"
    other.write_bytes(path.read_bytes())
    other.replace(path)
    assert describe_artifact(path, "gguf").sha256 != first
