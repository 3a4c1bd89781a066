"""Clean GGUF files of small trained models in every type: `aprqa check` refutes none, and each with a defect in it.

python benchmarks/clean_trained_files.py [--families llama qwen3 ...] [--steps 350] [--depth text] [--output FILE]
Files by this package's converter, and by llama.cpp's quantiser where llama-cpp-python is installed. The defects: one
row of blocks damaged, one attention head scaled by 0.98. Exit 1: a clean file refuted, or a defect not.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import transformers  # noqa: F401 - here and not in the middle of a check
from trained_families import CACHE, FAMILIES, STEPS, trained_folder

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pytest_aprqa.artifact_check import CheckResult, check  # noqa: E402
from pytest_aprqa.defects.block_operations import damage_row, scale_head  # noqa: E402
from pytest_aprqa.defects.errors import DefectNotApplicableError  # noqa: E402
from pytest_aprqa.lifecycle.derive import derive  # noqa: E402

OURS = ("f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0")
THEIRS = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_NL", "Q3_K_M", "Q2_K")
DAMAGED = ("q8_0", "q4_k", "q4_0")
DEFECTS = {
    "row damaged": damage_row("model.layers.0.mlp.down_proj.weight", 3),
    "row damaged, falcon": damage_row("transformer.h.0.mlp.dense_4h_to_h.weight", 3),
    "head scaled by 0.98": scale_head("model.layers.0.self_attn.q_proj.weight", 0.98),
}


def quantised_by_llama_cpp(folder: Path, name: str, cache: Path) -> Path | None:
    """A file in CACHE: the model in llama.cpp's mixture NAME, by its quantiser; None where it is not installed."""
    try:
        library: Any = importlib.import_module("llama_cpp")
    except ImportError:
        return None
    path = cache / f"{folder.name}-{name}.gguf"
    if not path.is_file():
        parameters = library.llama_model_quantize_default_params()
        parameters.ftype, parameters.nthread = getattr(library, f"LLAMA_FTYPE_MOSTLY_{name}"), 2
        plain = derive(folder, "gguf", cache=cache, dtype="f32").path
        part = path.with_suffix(".part")
        if library.llama_model_quantize(str(plain).encode(), str(part).encode(), ctypes.byref(parameters)):
            raise SystemExit(f"{plain}: llama.cpp's quantiser refuses it")
        part.replace(path)
    return path


def files(folder: Path, cache: Path, kinds: list[str]) -> Iterator[tuple[str, Path]]:
    """(encoder and type, GGUF file), clean."""
    for dtype in OURS:
        if not kinds or dtype in kinds:
            yield f"ours {dtype}", derive(folder, "gguf", cache=cache, dtype=dtype).path
    for name in THEIRS:
        path = quantised_by_llama_cpp(folder, name, cache) if not kinds or name in kinds else None
        if path is not None:
            yield f"llama.cpp {name}", path


def told(result: CheckResult) -> list[str]:
    """Gate and message of every finding."""
    return [f"{one.gate} {one.where}: {one.message}" for one in result.findings]


def judge(folder: Path, cache: Path, depth: str, kinds: list[str]) -> dict[str, Any]:
    """File -> what refutes it, of clean files (should be nothing) and of damaged ones (should be something)."""
    found: dict[str, Any] = {"clean": {}, "damaged": {}}
    for label, path in files(folder, cache, kinds):
        result = check([path], folder, depth)
        found["clean"][label] = {"findings": told(result), "tried": len(result.tried)}
        print(f"{folder.name} {label}: {len(result.tried)} tried, {told(result) or 'not refuted'}", flush=True)
    for dtype in DAMAGED:
        for name, defect in DEFECTS.items():
            target = cache / f"{folder.name}-damaged.gguf"
            shutil.copyfile(derive(folder, "gguf", cache=cache, dtype=dtype).path, target)
            try:
                defect(target)
                found["damaged"][f"{dtype}, {name}"] = told(check([target], folder, "weights"))
            except DefectNotApplicableError:  # another family's tensor, or query, key and value in one
                continue
            finally:
                target.unlink()
            print(f"{folder.name} {dtype}, {name}: {found['damaged'][f'{dtype}, {name}'] or 'NOT REFUTED'}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--depth", default="text")
    parser.add_argument("--types", nargs="*", default=[], help="only these, as q4_0 (ours) or Q2_K (llama.cpp's)")
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    for family in arguments.families:
        folder = trained_folder(family, arguments.steps, arguments.cache)
        found[family] = judge(folder, arguments.cache / "converted", arguments.depth, arguments.types)
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    refuted = [f for one in found.values() for f, row in one["clean"].items() if row["findings"]]
    missed = [f for one in found.values() for f, findings in one["damaged"].items() if not findings]
    clean, damaged = (sum(len(one[kind]) for one in found.values()) for kind in ("clean", "damaged"))
    print(f"{clean} clean files, {len(refuted)} refuted; {damaged} damaged ones, {len(missed)} not refuted")
    return 1 if refuted or missed else 0


if __name__ == "__main__":
    sys.exit(main())
