"""Three small files that the released `apr` 0.72.3 wrote from one model: BF16, its native int8 and its native int4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.apr_writer import serialize_apr

DATA = Path(__file__).parents[1] / "data" / "apr"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    """The weights as the file of the unquantised import has them: BF16, so exact."""
    with AprFile(DATA / "real-import.apr") as file:
        return {name: file.read(name) for name in file.entries}


def test_the_import_keeps_bfloat16_and_stores_the_tied_head_without_bytes(values: dict[str, np.ndarray]) -> None:
    with AprFile(DATA / "real-import.apr") as file:
        assert {entry.dtype for name, entry in file.entries.items() if name != file.tied_head} == {"BF16"}
        assert file.tied_head == "lm_head.weight"
        assert len(file.warnings) == 1
        assert file.metadata["rope_type"] == 2
    np.testing.assert_array_equal(values["lm_head.weight"], values[EMBEDDING])


@pytest.mark.parametrize(("name", "dtype"), [("real-import-int8.apr", "APR_Q8"), ("real-import-int4.apr", "APR_Q4")])
def test_our_encoder_gives_the_bytes_of_the_program(values: dict[str, np.ndarray], name: str, dtype: str) -> None:
    quantised = 0
    with AprFile(DATA / name) as file:
        assert file.warnings == []
        assert set(file.entries) == set(values)
        for tensor, entry in file.entries.items():
            assert file.raw(tensor).tobytes() == codecs.encode(entry.dtype, values[tensor]), tensor
            quantised += entry.dtype == dtype
    assert quantised > 5


@pytest.mark.parametrize("name", ["real-import-int8.apr", "real-import-int4.apr"])
def test_decoded_values_are_within_half_a_step(values: dict[str, np.ndarray], name: str) -> None:
    with AprFile(DATA / name) as file:
        for tensor, entry in file.entries.items():
            error = np.abs(file.read(tensor) - values[tensor]).max()
            step = np.abs(values[tensor]).max() / {"APR_Q8": 127, "APR_Q4": 7}.get(entry.dtype, np.inf)
            assert error <= 0.51 * step, tensor


@pytest.mark.parametrize("name", ["real-import.apr", "real-import-int8.apr", "real-import-int4.apr"])
def test_a_rewrite_keeps_every_tensor_and_every_metadata_value(tmp_path: Path, name: str) -> None:
    with AprFile(DATA / name) as file:
        rows = [(e.name, e.dtype, e.shape, file.raw(e.name).tobytes()) for e in file.entries.values() if e.nbytes]
        metadata = dict(file.metadata)
    path = tmp_path / "again.apr"
    path.write_bytes(serialize_apr(metadata, rows))
    with AprFile(path) as file:
        assert file.warnings == []
        assert dict(file.metadata) == metadata
        assert [(e.name, e.dtype, e.shape, file.raw(e.name).tobytes()) for e in file.entries.values()] == rows
