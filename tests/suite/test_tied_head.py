"""A head that a file stores although the source ties it: right with the embedding's values, refuted with others."""

import pytest

from pytest_aprqa.artifact_check import check
from pytest_aprqa.defects.tensor_operations import EMBEDDING, HEAD, convert, duplicate, scale
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact
from pytest_aprqa.suite.same_model import compare_models, declaration_differences, name_differences
from pytest_aprqa.suite.tied_head import is_stored_copy, with_head
from tests.plugin.conftest import TINY_MODEL


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Clean files with a stored head, and files whose head has other values or another type."""
    place = tmp_path_factory.mktemp("heads")
    made = {}
    for name, kind, dtype, operations in (
        ("copy", "gguf", None, [duplicate(EMBEDDING, "output.weight")]),
        ("copy-q8", "gguf", "q8_0", [duplicate(EMBEDDING, "output.weight")]),
        ("tied", "apr", None, []),
        ("scaled", "gguf", None, [duplicate(EMBEDDING, "output.weight"), scale("output.weight", 1.1)]),
        ("scaled-tied", "apr", None, [scale(HEAD, 1.1)]),
        ("wider", "gguf", "q8_0", [duplicate(EMBEDDING, "output.weight"), convert("output.weight", "F32")]),
    ):
        made[name] = place / f"{name}.{kind}"
        made[name].write_bytes(
            derive(TINY_MODEL, kind, cache=place / "cache", dtype=dtype or "native").path.read_bytes()
        )
        for operation in operations:
            operation(made[name])
    return made


def test_a_copy_of_the_tied_head_is_no_finding_and_any_other_head_is_one(files, tmp_path, monkeypatch):
    monkeypatch.setenv("APRQA_CACHE", str(tmp_path))
    result = check(list(files.values()), TINY_MODEL, "weights")
    found = {
        name: {(f.gate, f.where, f.cause) for f in result.findings if f.artifact == str(path)}
        for name, path in files.items()
    }
    assert found["copy"] == found["copy-q8"] == found["tied"] == set()
    scaled = ("F-CONTRACT-I4-001", HEAD, "scaled by about 1.1")
    assert found["scaled"] == found["scaled-tied"] == {scaled}
    assert ("F-CONTRACT-I3-001", HEAD, "silent fall-back to a wider float") in found["wider"]


def test_a_head_stored_beside_a_tied_one_is_compared_with_the_embedding(files):
    with open_artifact(TINY_MODEL) as source, open_artifact(files["copy"]) as copy:
        assert is_stored_copy(source, copy)
        assert name_differences(source, copy) == ([], [])
        assert declaration_differences(source, copy)["tied_embeddings"] == (False, True, True)
        assert with_head(source, copy).tensors.source_name(HEAD) == EMBEDDING
        assert HEAD not in source.tensors.names()
        assert with_head(source, source) is source
        assert compare_models(source, copy).differences == []
    with open_artifact(TINY_MODEL) as source, open_artifact(files["scaled"]) as scaled:
        assert [one.where for one in compare_models(source, scaled).differences] == [HEAD]


def test_a_source_with_a_head_of_its_own_has_no_copy(files, random_llama_folder):
    with open_artifact(random_llama_folder) as source, open_artifact(files["copy"]) as copy:
        assert source.config.tied_embeddings is False
        assert not is_stored_copy(source, copy)
        assert with_head(source, copy) is source
