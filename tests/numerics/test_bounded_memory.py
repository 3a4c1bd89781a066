"""Comparing two files takes the same memory whatever their size: resident set of a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.formats.tensor_file import LARGE_PAGE, RESIDENT, MappedFile

ROWS, COLUMNS = 2048, 4096  # 16 MiB in 16 bits
LIMIT = 4 * RESIDENT  # bytes: two files, each with what it may keep resident, and as much again
PROGRAM = """
import json, sys
from pathlib import Path
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.numerics.tensor_error import compare_all

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) << 10

with open_tensor_file(sys.argv[1]) as a, open_tensor_file(sys.argv[2]) as b:
    one, other = (CanonicalTensors(file, "llama", 4, 4) for file in (a, b))
    before = resident("VmRSS")
    errors = list(compare_all(one, other, one.names(), threads=2))
    print(json.dumps({"grown": resident("VmHWM") - before, "nmse": [error.nmse for error in errors]}))
"""


def write_sparse(path: Path, tensors: int, dtype: str, last: float) -> Path:
    """A SafeTensors file of equal matrices, all zero but the last value of the last; zeros take no room on the disk."""
    size = ROWS * COLUMNS * 2
    header = {
        f"w{n}": {"dtype": dtype, "shape": [ROWS, COLUMNS], "data_offsets": [n * size, (n + 1) * size]}
        for n in range(tensors)
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    value = np.float16(last).tobytes() if dtype == "F16" else np.float32(last).tobytes()[2:]
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.seek(8 + len(text) + tensors * size - 2)
        stream.write(value)
    return path


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the system does not tell a process's memory")
@pytest.mark.parametrize("types", [("BF16", "BF16"), ("BF16", "F16")], ids="-".join)
def test_memory_does_not_grow_with_the_file(types, tmp_path):
    """The larger pair alone is above the limit; equal types are compared by bytes, others by values."""
    grown, sizes = [], (4, 12)
    for tensors in sizes:
        files = [write_sparse(tmp_path / f"{i}-{tensors}.safetensors", tensors, t, 2.0) for i, t in enumerate(types)]
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, files)], capture_output=True, text=True, check=True
        )
        answer = json.loads(result.stdout)
        assert answer["nmse"] == [0.0] * tensors
        grown.append(answer["grown"])
        for file in files:
            file.unlink()
    assert 2 * sizes[-1] * ROWS * COLUMNS * 2 > 1.4 * LIMIT
    assert max(grown) < LIMIT, f"grown by {[size >> 20 for size in grown]} MiB for {sizes} tensors of 16 MiB a file"


@pytest.mark.parametrize(("count", "forgotten"), [(RESIDENT // LARGE_PAGE - 1, 0), (RESIDENT // LARGE_PAGE, 1)])
def test_a_small_tensor_counts_as_the_large_page_that_holds_it(tmp_path, monkeypatch, count, forgotten):
    """Norms and biases lie far apart in a large file: each makes up to 2 MiB resident."""
    forgets = []
    monkeypatch.setattr(MappedFile, "forget", lambda self, start, stop: forgets.append((start, stop)))
    values = np.ones(8, np.float32)
    write_safetensors(tmp_path / "model.safetensors", {f"w{n}": ("F32", (8,), values) for n in range(count)})
    with open_tensor_file(tmp_path / "model.safetensors") as file:
        for name in file.entries:
            file.sums(name)
    assert len(forgets) == forgotten
