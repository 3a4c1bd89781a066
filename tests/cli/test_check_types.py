"""`aprqa check` of rarer types: what cannot be decoded is neither refuted nor passed, a ternary file is sound."""

import json

import numpy
import pytest

from pytest_aprqa.artifact_check import check
from pytest_aprqa.cli.main import call
from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.formats.blocks import tensor_nbytes
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.lifecycle.derive import derive
from tests.plugin.conftest import TINY_MODEL

TERNARY_FILE, QUERY = 37, "blk.0.attn_q.weight"  # general.file_type of TQ2_0


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return derive(TINY_MODEL, "gguf", cache=tmp_path_factory.mktemp("types-cache")).path


def _with_types(clean, target, stored, file_type=None):
    """A copy of a GGUF file in which tensors have another type: `stored` gives (type, bytes), or None to keep it."""
    with GgufFile(clean) as file:
        own = ("general.architecture", "general.alignment")
        changed = dict(file.metadata) | ({"general.file_type": file_type} if file_type is not None else {})
        metadata = [(key, value, file.value_types[key]) for key, value in changed.items() if key not in own]
        rows = []
        for entry in file.entries.values():
            dtype, raw = stored(file, entry) or (entry.dtype, file.raw(entry.name).tobytes())
            rows.append((entry.name, dtype, entry.shape, raw))
        write_gguf(target, file.metadata["general.architecture"], metadata, rows)
    return target


def _undecodable(dtype, name=QUERY):
    """`stored` of `_with_types`: one tensor of a type whose size is known and whose values are not."""

    def stored(file, entry):
        return (dtype, bytes(tensor_nbytes(dtype, entry.shape))) if entry.name == name else None

    return stored


@pytest.mark.parametrize("dtype", ["IQ3_S", "IQ2_XXS"])
def test_a_type_without_decoder_is_no_finding(dtype, clean, tmp_path, capsys):
    """Nothing is known about its values, so that the file is neither refuted nor passed at that depth."""
    file_type = {"IQ3_S": 26, "IQ2_XXS": 19}[dtype]
    path = _with_types(clean, tmp_path / "few.gguf", _all_matrices(dtype), file_type)
    assert call(["check", str(path), "--against", str(TINY_MODEL), "--depth", "weights", "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["findings"] == []
    weights = {row["gate"]: row["reason"] for row in answer["not_tried"] if row["depth"] == "weights" and row["gate"]}
    assert {"G0-VALIDATE-001", "F-DATA-QUALITY-001", "F-DATA-QUALITY-003", "F-CONTRACT-I4-001"} <= set(weights)
    assert all(reason.startswith(f"not tried: cannot decode {dtype} (28 tensors)") for reason in weights.values())
    assert answer["artifacts"][0]["tried_up_to"] == "structure"


def _all_matrices(dtype):
    def stored(file, entry):
        inner = entry.name.startswith("blk.") and len(entry.shape) == 2
        return (dtype, bytes(tensor_nbytes(dtype, entry.shape))) if inner else None

    return stored


def test_one_tensor_without_decoder_is_enough(clean, tmp_path, capsys):
    path = _with_types(clean, tmp_path / "one.gguf", _undecodable("IQ3_S"))
    result = check([path], TINY_MODEL, "weights")
    assert {f.gate for f in result.findings} == {"F-CONTRACT-I3-001"}, "only its type is no type of such a file"
    untried = {row["gate"]: row["reason"] for row in result.not_tried if row.get("could_not")}
    assert untried["G0-VALIDATE-001"] == f"not tried: cannot decode IQ3_S (1 tensor), the first is {QUERY}"
    assert "F-CONTRACT-I4-001" in untried


def test_a_type_without_decoder_does_not_hide_damage_beside_it(clean, tmp_path):
    broken = apply_defect("gguf-nan-in-tensor", clean, tmp_path / "nan.gguf")
    path = _with_types(broken, tmp_path / "both.gguf", _undecodable("IQ3_S"))
    found = {(f.gate, f.where) for f in check([path], TINY_MODEL, "weights").findings}
    assert ("G0-VALIDATE-001", "blk.0.ffn_down.weight") in found
    assert ("F-CONTRACT-I4-001", "model.layers.0.mlp.down_proj.weight") in found


def _ternary(file, entry):
    """TQ2_0 by its rule: the largest magnitude of 256 values is the scale, values are rounded to -1, 0 and 1."""
    if len(entry.shape) != 2 or entry.shape[-1] % 256 or not entry.name.startswith("blk."):
        return None
    blocks = file.read(entry.name).reshape(-1, 256)
    scale = numpy.abs(blocks).max(axis=1)
    codes = numpy.rint(blocks / numpy.where(scale > 0, scale, 1)[:, None]).astype(numpy.int64) + 1
    quarters = codes.reshape(-1, 2, 4, 32)
    packed = sum(quarters[:, :, n] << (2 * n) for n in range(4)).astype(numpy.uint8).reshape(-1, 64)
    return "TQ2_0", numpy.hstack([packed, scale.astype("<f2").view(numpy.uint8).reshape(-1, 2)]).tobytes()


def _without_scale(file, entry):
    """The first query matrix of a ternary file with all scales zero: every value is."""
    row = _ternary(file, entry)
    if row is None or entry.name != QUERY:
        return row
    blocks = numpy.frombuffer(row[1], numpy.uint8).reshape(-1, 66).copy()
    blocks[:, 64:] = 0
    return row[0], blocks.tobytes()


def test_a_clean_ternary_file_is_not_refuted_and_a_zeroed_matrix_is(clean, tmp_path):
    sound = _with_types(clean, tmp_path / "ternary.gguf", _ternary, TERNARY_FILE)
    broken = _with_types(clean, tmp_path / "zeroed.gguf", _without_scale, TERNARY_FILE)
    result = check([sound, broken], TINY_MODEL, "weights")
    assert result.verdict_of(str(sound)) == "not refuted", result.findings
    assert {f.gate for f in result.findings} >= {"G0-VALIDATE-001", "F-CONTRACT-I4-001", "F-DATA-QUALITY-003"}
