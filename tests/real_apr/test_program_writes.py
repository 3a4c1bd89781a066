"""We read every file that the released program writes, in every quantisation it offers, and its values are the model's.

Where its file is broken, the test says how; the reference page on real files has the same rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from pytest_aprqa.formats.apr_file import AprFile
from pytest_aprqa.formats.errors import FormatError
from pytest_aprqa.formats.names import hf_name
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile
from pytest_aprqa.lifecycle.derive import derive
from tests.real_apr.real_files import RECIPES, make_files
from tests.real_apr.real_models import TINY_QWEN2
from tests.real_apr.real_program import Apr

SCHEMES = ("fp16", "int8", "int4", "q4k")
QUANTIZED = {
    f"quantize-{scheme}.{kind}": f"quantize import-fp16.apr -s {scheme} --format {kind} -o quantize-{scheme}.{kind}"
    for scheme in SCHEMES
    for kind in ("apr", "gguf")
}
CONVERTED = {
    f"convert-{scheme}.apr": f"convert import-fp16.apr --quantize {scheme} -o convert-{scheme}.apr"
    for scheme in SCHEMES
}
OTHERS = {
    "convert-lz4.apr": "convert import-fp16.apr --compress lz4 -o convert-lz4.apr",
    "rosetta.safetensors": "rosetta convert import-fp16.apr rosetta.safetensors",
    "from-rosetta-q4k.apr": "import rosetta.gguf --preserve-q4k -o from-rosetta-q4k.apr",
}
EXACT, HALF, EIGHT, FOUR, FOUR_K = 0.0, 1e-15, 5e-4, 2e-2, 1e-2
"""Largest NMSE of a tensor: BF16 and F32 keep every value, F16 all but subnormals, the others are of 8 and 4 bits."""


class Made(NamedTuple):
    types: set[str]
    limit: float


EXPECTED = {
    "import.apr": Made({"BF16", "F32"}, EXACT),
    "import-fp16.apr": Made({"F16"}, HALF),
    "import-int8.apr": Made({"APR_Q8", "F32"}, EIGHT),
    "import-int4.apr": Made({"APR_Q4", "F32"}, FOUR),
    "convert-fp16.apr": Made({"F16"}, HALF),
    "convert-int8.apr": Made({"APR_Q8", "F32"}, EIGHT),
    "convert-int4.apr": Made({"APR_Q4", "F32"}, FOUR),
    "convert-q4k.apr": Made({"Q4_K", "F32"}, FOUR_K),
    "convert-zstd.apr": Made({"F32"}, HALF),
    "convert-lz4.apr": Made({"F32"}, HALF),
    "export-fp16.gguf": Made({"F32"}, HALF),
    "export-int8.gguf": Made({"F32"}, HALF),
    "export-int4.gguf": Made({"F32", "Q4_K"}, FOUR_K),
    "export.safetensors": Made({"F32"}, EXACT),
    "export-int8.safetensors": Made({"F32"}, EIGHT),
    "export-int4.safetensors": Made({"F32"}, 0.1),  # one scale for a whole tensor at 4 bits, stored as F32
    "quantize-int8.safetensors": Made({"APR_Q8", "F32"}, EIGHT),  # an APR file under another name
    "quantize-int4.safetensors": Made({"APR_Q4", "F32"}, FOUR),
    "quantize-q4k.safetensors": Made({"Q4_K", "F32"}, FOUR_K),
    "from-gguf.apr": Made({"F32"}, HALF),
    "from-gguf-q4k.apr": Made({"F32", "Q4_K"}, FOUR_K),
    "from-rosetta-q4k.apr": Made({"F32", "Q4_K"}, FOUR_K),
    "rosetta.gguf": Made({"F32", "Q4_K"}, FOUR_K),
    "rosetta.safetensors": Made({"F32"}, HALF),
    "stamp.apr": Made({"BF16", "F32"}, EXACT),
    "quantize-fp16.apr": Made({"F16"}, HALF),
    "quantize-int8.apr": Made({"APR_Q8", "F32"}, EIGHT),
    "quantize-int4.apr": Made({"APR_Q4", "F32"}, FOUR),
    "quantize-q4k.apr": Made({"Q4_K", "F32"}, FOUR_K),
    "quantize-fp16.gguf": Made({"F32"}, HALF),
    "quantize-int8.gguf": Made({"F32"}, HALF),
    "quantize-int4.gguf": Made({"F32", "Q4_K"}, FOUR_K),
    "quantize-q4k.gguf": Made({"F32", "Q4_K"}, FOUR_K),
}
BROKEN = {"export.gguf": "overlaps the tensor before it"}


@pytest.fixture(scope="module")
def files(apr: Apr, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the program makes of the bundled model."""
    folder = tmp_path_factory.mktemp("written")
    make_files(apr, TINY_QWEN2, folder)
    more = QUANTIZED | CONVERTED | OTHERS
    for name, command in more.items():
        if (folder / name).exists():
            continue
        words = [str(folder / word) if word in RECIPES or word in more else word for word in command.split()]
        answer = apr(*words)
        assert answer.status == 0, f"{command}: {answer.said[-300:]}"
    return folder


def worst_error(source: TensorFile, file: TensorFile) -> float:
    """Largest NMSE over the tensors of SOURCE, each of which FILE must have under its own or its GGUF name."""
    names = {hf_name(name, "qwen2") or name: name for name in file.entries}
    assert set(source.entries) <= set(names) <= {*source.entries, "lm_head.weight"}
    errors = []
    for name, entry in source.entries.items():
        assert file.entries[names[name]].shape == entry.shape, name
        values, found = source.read(name).astype(np.float64), file.read(names[name]).astype(np.float64)
        errors.append(float(((found - values) ** 2).sum() / (values**2).sum()))
    return max(errors)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_we_read_it_strictly_and_its_values_are_those_of_the_model(files: Path, name: str) -> None:
    expected = EXPECTED[name]
    with open_tensor_file(TINY_QWEN2) as source, open_tensor_file(files / name) as file:
        assert {entry.dtype for entry in file.entries.values()} == expected.types
        assert worst_error(source, file) <= expected.limit


@pytest.mark.parametrize("name", sorted(BROKEN))
@pytest.mark.parametrize("strict", [True, False])
def test_what_it_breaks_is_refused_by_field(files: Path, name: str, strict: bool) -> None:
    with pytest.raises(FormatError, match=BROKEN[name]):
        open_tensor_file(files / name, strict=strict)


def test_every_file_that_it_wrote_is_judged(files: Path) -> None:
    made = {path.name for path in files.iterdir() if path.suffix in (".apr", ".gguf", ".safetensors")}
    assert made == set(EXPECTED) | set(BROKEN)


@pytest.mark.parametrize(("name", "dtype"), [("import-int8.apr", "q8"), ("import-int4.apr", "q4")])
def test_native_quantisation_is_ours_byte_for_byte(files: Path, tmp_path: Path, name: str, dtype: str) -> None:
    ours = derive(TINY_QWEN2, "apr", cache=tmp_path, dtype=dtype).path
    with AprFile(files / name) as theirs, AprFile(ours) as file:
        assert set(theirs.entries) == set(file.entries)
        for tensor, entry in theirs.entries.items():
            assert file.entries[tensor].dtype == entry.dtype
            assert file.raw(tensor).tobytes() == theirs.raw(tensor).tobytes(), tensor


def test_a_head_without_bytes_is_read_as_the_embedding(files: Path) -> None:
    with AprFile(files / "import.apr") as file:
        assert (file.tied_head, file.raw("lm_head.weight").size) == ("lm_head.weight", 0)
        np.testing.assert_array_equal(file.read("lm_head.weight"), file.read("model.embed_tokens.weight"))


@pytest.mark.parametrize("name", ["from-gguf-q4k.apr", "from-rosetta-q4k.apr"])
def test_a_file_of_the_engines_own_writer_only_lacks_its_footer(files: Path, name: str) -> None:
    with AprFile(files / name) as file:
        assert len(file.warnings) == 1
        assert "footer checksum is missing" in file.warnings[0]
        assert file.metadata["num_layers"] == 4  # stored as num_hidden_layers
        assert "num_hidden_layers" not in file.metadata


@pytest.mark.parametrize("name", ["import-int8.apr", "import-int4.apr", "convert-q4k.apr", "import-fp16.apr"])
def test_its_own_statistics_are_those_of_our_values(apr: Apr, files: Path, name: str) -> None:
    listed = apr("tensors", files / name, "--stats", "--json").json()["tensors"]
    with AprFile(files / name) as file:
        assert {row["name"] for row in listed} == set(file.entries)
        for row in listed:
            values = file.read(row["name"])
            found = (float(values.mean()), float(values.min()), float(values.max()))
            assert found == pytest.approx((row["mean"], row["min"], row["max"]), rel=1e-5, abs=1e-6), row["name"]
