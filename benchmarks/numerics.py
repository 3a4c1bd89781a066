"""Figures of comparisons: tensors against reading memory, memory of a large pair, divergence against llama.cpp's tool.

`--tool PATH` (llama-perplexity; llama-cpp-python must be installed) adds the divergence, `--large GIB` the large pair.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import random_half_billion

from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.numerics.tensor_error import compare_all

DIVERGENCE_RATIO, LARGE_LIMIT = 0.6, 1 << 30
PAIR_TENSORS, PAIR_SHAPE = 8, (2048, 4096)  # 32 MiB of float32 each
CONTEXT, SEQUENCES = 512, 96  # a sixth of the usual test text: what a program costs to start is spread over it
REPEATS = 5
TEXT = "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n"
MEAN = re.compile(r"Mean\s+KLD:\s+(-?[\d.]+)")
STORED_STEP = 16 / 65535  # of llama.cpp's stored logits, nats
COMPARED = """
import json, sys, time
from pathlib import Path
from pytest_aprqa.formats.canonical import CanonicalTensors
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.numerics.tensor_error import compare_all
started = time.perf_counter()
with open_tensor_file(sys.argv[1]) as a, open_tensor_file(sys.argv[2]) as b:
    one, other = (CanonicalTensors(file, "llama", 4, 4) for file in (a, b))
    largest = max(error.nmse for error in compare_all(one, other, one.names()))
# Of this program alone: ru_maxrss begins with what the process that started it had.
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM:"))
print(json.dumps({"peak": peak, "largest_nmse": largest, "seconds": time.perf_counter() - started}))
"""


def tensors() -> dict[str, float]:
    """Share of the memory read speed at which the NMSE of a pair of files in the page cache is computed, both read."""
    random = np.random.default_rng(0)
    values = {f"w{n}": random.standard_normal(PAIR_SHAPE, dtype=np.float32) for n in range(PAIR_TENSORS)}
    shares = {}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "source.safetensors"
        _write(source, "F32", {key: array.tobytes() for key, array in values.items()})
        narrow = {key: (a.view(np.uint32) >> np.uint32(16)).astype(np.uint16) for key, a in values.items()}
        pairs = {
            "F32 and the same bytes": ("F32", {key: array.tobytes() for key, array in values.items()}),
            "F32 and BF16": ("BF16", {key: array.tobytes() for key, array in narrow.items()}),
            "F32 and F16": ("F16", {key: array.astype(np.float16).tobytes() for key, array in values.items()}),
        }
        for label, (dtype, data) in pairs.items():
            target = Path(name) / "target.safetensors"
            _write(target, dtype, data)
            files = [np.fromfile(path, np.uint64) for path in (source, target)]
            times = measuring.fastest(
                {
                    "read": lambda files=files: [array.max() for array in files],
                    "compare": lambda source=source, target=target: _compare(source, target),
                },
                REPEATS,
            )
            shares[label] = times["read"] / times["compare"]
    return shares


def _write(path: Path, dtype: str, tensors: Mapping[str, bytes]) -> None:
    write_safetensors(path, {name: (dtype, PAIR_SHAPE, data) for name, data in tensors.items()}, None)


def _compare(source: Path, target: Path) -> None:
    with open_tensor_file(source) as a, open_tensor_file(target) as b:
        one, other = (CanonicalTensors(file, "llama", 4, 4) for file in (a, b))
        list(compare_all(one, other, one.names()))


def large_pair(gibibytes: int, folder: Path) -> dict[str, float]:
    """Peak memory of comparing two files of GIBIBYTES each: zeros that take no room on the disk, some real values."""
    shape, size = (8192, 16384), 8192 * 16384 * 2
    count = gibibytes * (1 << 30) // size
    paths = [folder / f"large-{dtype}.safetensors" for dtype in ("BF16", "F16")]
    values = np.random.default_rng(0).standard_normal(1 << 22, dtype=np.float32)
    for path, data in zip(paths, (values.view(np.uint32) >> np.uint32(16), values.astype(np.float16)), strict=True):
        dtype = path.stem.partition("-")[2]
        header = {
            f"w{n}": {"dtype": dtype, "shape": shape, "data_offsets": [n * size, (n + 1) * size]} for n in range(count)
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            stream.truncate(8 + len(text) + count * size)
            for tensor in (0, count // 2, count - 1):
                stream.seek(8 + len(text) + tensor * size)
                stream.write(data.astype(np.uint16).tobytes() if dtype == "BF16" else data.tobytes())
    bytes_of_file = paths[0].stat().st_size
    result = json.loads(measuring.run(["-c", COMPARED, *map(str, paths)], folder).stdout)
    for path in paths:
        path.unlink()
    return {"file_gib": bytes_of_file / 2**30, "peak_gib": result["peak"] / 2**30, **result}


def divergence(tool: str, folder: Path) -> dict[str, float]:
    """Ours over llama.cpp's two passes: a small model with the vocabulary of Qwen2, F16 and Q8_0. Checks both means."""
    from pytest_aprqa.lifecycle.derive import derive

    random_half_billion.SHAPES["wide"] = (256, 4, 4, 2, 1024, 151_936)
    model = random_half_billion.make(folder / "model", "wide")
    base, other = (derive(model, "gguf", cache=folder / "cache", dtype=dtype).path for dtype in ("f16", "q8_0"))
    text, stored = folder / "text.txt", folder / "logits"
    text.write_text(TEXT * (CONTEXT * SEQUENCES // 20), encoding="utf-8")
    options = ["-c", str(CONTEXT), "-t", str(os.cpu_count()), "--chunks", str(SEQUENCES)]
    printed: list[str] = []
    told: list[dict[str, float]] = []

    def theirs() -> None:
        _tool(tool, "-m", str(base), "-f", str(text), "--kl-divergence-base", str(stored), *options)
        second = ["-m", str(other), "--kl-divergence-base", str(stored), "--kl-divergence"]
        printed.append(_tool(tool, *second, *options))

    def ours() -> None:
        arguments = [base, other, text, CONTEXT, SEQUENCES]
        script = Path(__file__).with_name("divergence_of_pair.py")
        told.append(json.loads(measuring.run([str(script), *map(str, arguments)], folder).stdout))

    series = measuring.in_turns({"theirs": theirs, "ours": ours}, 3, warm_up=0)  # the files were just written
    means = [float(found[1]) for text in printed if (found := MEAN.search(text))]
    if not means or abs(means[0] - told[0]["mean"]) > STORED_STEP:
        sys.exit(f"the means differ: llama.cpp's tool {means}, ours {told[0]['mean']}")
    return {
        "wall": series["ours"].median / series["theirs"].median,
        "processor": series["ours"].median_processor / series["theirs"].median_processor,
        "theirs_s": series["theirs"].median,
        "ours_s": series["ours"].median,
        "their_stored_mib": stored.stat().st_size / 2**20,
        "tokens": told[0]["tokens"],
        "mean": told[0]["mean"],
        "their_mean": means[0],
    }


def _tool(tool: str, *arguments: str) -> str:
    result = subprocess.run([tool, *arguments], capture_output=True, text=True, errors="replace", check=False)
    if result.returncode:
        sys.exit(f"{tool}: exit {result.returncode}\n{result.stderr[-2000:]}")
    return result.stdout + result.stderr


def _tool_or_reason(asked: str | None) -> tuple[str | None, str]:
    tool = asked or os.environ.get("LLAMA_PERPLEXITY") or shutil.which("llama-perplexity")
    if tool is None:
        return None, "llama-perplexity is neither on PATH nor named by --tool or LLAMA_PERPLEXITY"
    if not shutil.which(tool):
        return None, f"{tool} is no program"
    if importlib.util.find_spec("llama_cpp") is None:
        return None, "llama-cpp-python is not installed: pip install pytest-aprqa[llama]"
    return tool, ""


def main() -> int:
    """Measure, print, write; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", help="llama.cpp's llama-perplexity")
    parser.add_argument("--large", type=int, metavar="GIB", help="size of each file of a large pair")
    options = parser.parse_args()
    figures: dict[str, Any] = {"tensors": tensors()}
    rows = [(f"NMSE of {label} / memory read", f"{share:.2f}") for label, share in figures["tensors"].items()]
    good = True
    with tempfile.TemporaryDirectory() as name:
        if options.large:
            figures["large"] = large = large_pair(options.large, Path(name))
            rows.append((f"peak memory for two files of {large['file_gib']:.1f} GiB", f"{large['peak_gib']:.2f} GiB"))
            good = large["peak"] < LARGE_LIMIT
        tool, reason = _tool_or_reason(options.tool)
        if tool is None:
            print(f"  divergence is not measured: {reason}")
        else:
            figures["divergence"] = pair = divergence(tool, Path(name))
            rows += [
                (f"divergence, ours / llama.cpp's tool, {kind}", f"{pair[kind]:.2f}") for kind in ("processor", "wall")
            ]
            rows.append(("stored by llama.cpp's tool; by ours 0", f"{pair['their_stored_mib']:.0f} MiB"))
            good = good and pair["processor"] <= DIVERGENCE_RATIO
    measuring.show("numerics", rows)
    measuring.write("numerics", limits={"divergence": DIVERGENCE_RATIO, "large_bytes": LARGE_LIMIT}, **figures)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
