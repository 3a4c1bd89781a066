"""A whole `aprqa check --depth weights` of a large model in each type, against a plain read of the same bytes.

`--keep FOLDER`: make the model and its files there once and use them again; they take about 10 GB. `--layers 110`: 3
billion weights, where the start of the program counts less.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import formats
import measuring

from pytest_aprqa.numerics.pair_sums import compiled_loops

LEAST_BYTES, MEMORY_LIMIT = 2 << 30, 1 << 30
SHAPE = {"layers": 44, "hidden": 1536, "inner": 4608}  # 1.2 billion BF16 weights
KINDS = {"f16": ("gguf", "f16"), "q8_0": ("gguf", "q8_0"), "q4_k": ("gguf", "q4_k"), "apr": ("apr", "native")}
PIECE = 4 << 20
REPEATS = 3
CORES = os.cpu_count() or 1
# Peak memory of the check is that of the largest of its processes.
CHECK = """
import json, resource, subprocess, sys
ended = subprocess.run([sys.executable, "-c", "from pytest_aprqa.cli.main import main; main()", *sys.argv[1:]],
                       capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"exit": ended.returncode, "said": (ended.stdout + ended.stderr)[-2000:], "rss": used.ru_maxrss << 10,
                  "processor": used.ru_utime + used.ru_stime}))
"""


def make(folder: Path, layers: int, kinds: list[str]) -> dict[str, Path]:
    """The model and one file of each of KINDS, where they are not there yet."""
    model = folder / "model"
    if not (model / "made").is_file():
        shutil.rmtree(model, ignore_errors=True)
        model.mkdir(parents=True)
        formats.write_model(model, **SHAPE | {"layers": layers})
        (model / "made").touch()
    files = {}
    for kind in kinds:
        format_name, dtype = KINDS[kind]
        files[kind] = folder / f"{kind}.{format_name}"
        if not files[kind].is_file():
            print(f"  writing {files[kind].name}", flush=True)
            arguments = ["derive", str(model), "--format", format_name, "--dtype", dtype, "-o", str(files[kind])]
            measuring.run(["-c", formats.OUR_CONVERTER, *arguments], folder, APRQA_CACHE=str(folder / "cache"))
            shutil.rmtree(folder / "cache", ignore_errors=True)
    return files


def read(paths: list[Path]) -> None:
    """Every byte of the files into memory, on all cores, and nothing else."""

    def part(path: Path, start: int, stop: int) -> None:
        buffer = memoryview(bytearray(PIECE))
        with path.open("rb", buffering=0) as stream:
            stream.seek(start)
            while start < stop and (got := stream.readinto(buffer[: min(PIECE, stop - start)])):
                start += got

    with ThreadPoolExecutor(CORES) as pool:
        for path in paths:
            size = path.stat().st_size
            ends = [size * number // CORES for number in range(CORES + 1)]
            list(pool.map(part, [path] * CORES, ends, ends[1:]))


def forget(paths: list[Path]) -> None:
    """Let the system drop what it holds of the files, so that the next reader waits for the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def check(file: Path, model: Path, depth: str) -> dict[str, Any]:
    """Run the command; stop the benchmark unless nothing is refuted and the depth was reached."""
    arguments = [sys.executable, "-c", CHECK, "check", str(file), "--against", str(model), "--depth", depth]
    paths = (str(measuring.REPOSITORY), os.environ.get("PYTHONPATH", ""))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
    told = json.loads(subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, check=True).stdout)
    if told["exit"] != 0:
        sys.exit(f"{file}: exit {told['exit']}: {told['said']}")
    return dict(told)


def measure(file: Path, model: Path, repeats: int) -> dict[str, Any]:
    """The check, its cheapest depth (what costs nothing of the weights) and the plain read, in turns; best of each.

    First from the system's cache of files, then check and read from the disk.
    """
    paths = [*sorted(model.glob("*.safetensors")), file]
    size = sum(path.stat().st_size for path in paths)
    best = dict.fromkeys(("read", "structure", "check"), float("inf"))
    rss, processor, reading = 0, float("inf"), float("inf")
    read(paths)
    for _ in range(repeats):
        for name in best:
            start, used = time.perf_counter(), time.process_time()
            if name == "read":
                read(paths)
                reading = min(reading, time.process_time() - used)
            else:
                told = check(file, model, "weights" if name == "check" else name)
                rss = max(rss, told["rss"])
                processor = min(processor, told["processor"]) if name == "check" else processor
            best[name] = min(best[name], time.perf_counter() - start)
    weights = best["check"] - best["structure"]
    cold = {"read": float("inf"), "check": float("inf")}
    for _ in range(repeats):
        for name in cold:
            forget(paths)
            start = time.perf_counter()
            read(paths) if name == "read" else check(file, model, "weights")
            cold[name] = min(cold[name], time.perf_counter() - start)
    return {
        "bytes": size,
        "check_s": best["check"],
        "read_s": best["read"],
        "structure_s": best["structure"],
        "processor_s": processor,
        "read_processor_s": reading,
        "processor_over_read": processor / reading,
        "bytes_per_s": size / best["check"],
        "check_over_read": best["check"] / best["read"],
        "weights_over_read": weights / best["read"],
        "cold_check_s": cold["check"],
        "cold_read_s": cold["read"],
        "cold_check_over_read": cold["check"] / cold["read"],
        "peak_rss": rss,
    }


def main() -> int:
    """Measure, print, write; exit 1 where memory or the size of the model is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder for the model and its files (default: a temporary one)")
    parser.add_argument("--kinds", default=",".join(KINDS), help="files to check (default: all)")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--layers", type=int, default=SHAPE["layers"], help="another size of the model")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (asked.keep or Path(name)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        kinds = asked.kinds.split(",")
        files, model = make(folder, asked.layers, kinds), folder / "model"
        source = sum(path.stat().st_size for path in model.glob("*.safetensors"))
        rows, figures = [], {}
        for kind in kinds:
            print(f"  {kind}", flush=True)
            one = figures[kind] = measure(files[kind], model, asked.repeats)
            rows += [
                (f"{kind}: {one['bytes'] / 1e9:.2f} GB checked in", f"{one['check_s']:.1f} s"),
                (f"{kind}: bytes of both files", f"{one['bytes_per_s'] / 1e9:.2f} GB/s"),
                (f"{kind}: whole check / plain read of the same bytes", f"{one['check_over_read']:.1f}"),
                (f"{kind}: of it without start and structure", f"{one['weights_over_read']:.1f}"),
                (f"{kind}: from the disk, plain read of both files", f"{one['cold_read_s']:.1f} s"),
                (f"{kind}: from the disk, whole check / plain read", f"{one['cold_check_over_read']:.2f}"),
                (f"{kind}: processor time of the check", f"{one['processor_s']:.1f} s"),
                (f"{kind}: processor time, check / plain read", f"{one['processor_over_read']:.1f}"),
                (f"{kind}: peak memory of a process", f"{one['peak_rss'] / 1e6:.0f} MB"),
            ]
    compiled = compiled_loops() is not None
    measuring.show(f"check --depth weights, {'compiled loops (extra fast)' if compiled else 'numpy alone'}", rows)
    name = "check" if asked.layers == SHAPE["layers"] else f"check_{asked.layers}_layers"
    measuring.write(name, compiled=compiled, limits={"peak_rss": MEMORY_LIMIT}, source_bytes=source, checks=figures)
    return 0 if source >= LEAST_BYTES and max(one["peak_rss"] for one in figures.values()) < MEMORY_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
