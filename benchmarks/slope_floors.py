"""How far clean quantisation moves the scale of an attention head: what the limits `head_slopes` are held against.

python benchmarks/slope_floors.py [--heads 8] [--columns 256 1024] [--seeds 1] [--output FILE]
Rows of ten kinds of values and the projections of the bundled model, in every judged type by every encoder at hand.
Printed: the largest deviation of a head's slope from the median of the heads and from one, less its standard errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from encoders import OneTensor, Quantiser, quantisers, stored

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pytest_aprqa.models.artifact import open_artifact  # noqa: E402
from pytest_aprqa.numerics.head_slopes import ROLES, slopes_of_heads  # noqa: E402
from pytest_aprqa.numerics.limits import limits_table  # noqa: E402

TABLE = limits_table()["head_slopes"]
HEAD_DIM = 64
QUERY, OUTPUT = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight"
Case = tuple[str, str, Any, int]  # what it is, name of a projection, float32 matrix, size of a head


def kinds(shape: tuple[int, int], seed: int) -> Iterator[tuple[str, Any]]:
    """Values as trained matrices have them, and stranger ones."""
    draw = np.random.default_rng(seed)
    normal = draw.standard_normal(shape)
    yield "normal", normal
    yield "Student-t 4", draw.standard_t(4, shape)
    yield "Student-t 2.5", draw.standard_t(2.5, shape)
    yield "Laplace", draw.laplace(size=shape)
    yield "uniform", draw.uniform(-1, 1, shape)
    yield "sparse", np.where(draw.random(shape) < 0.7, 0, normal)
    yield "columns scaled", normal * 10.0 ** draw.uniform(-1, 1, shape[1])
    yield "rows scaled", normal * 10.0 ** draw.uniform(-2, 1, (shape[0], 1))
    yield "whole numbers", np.round(3 * normal)
    outliers = normal.copy()
    outliers[:, :4] *= 20
    yield "outliers", outliers


def drawn(heads: int, columns: int, seeds: int) -> Iterator[Case]:
    """Projections of HEADS heads of every kind; rows of a head, and columns of one."""
    for seed in range(seeds):
        for name, shape in ((QUERY, (heads * HEAD_DIM, columns)), (OUTPUT, (columns, heads * HEAD_DIM))):
            for kind, values in kinds(shape, seed):
                yield f"{kind}, {columns} columns, seed {seed}", name, values.astype(np.float32), HEAD_DIM


def of_model(folder: Path) -> Iterator[Case]:
    """Projections of a Hugging Face folder."""
    with open_artifact(folder, "safetensors") as source:
        for name in source.tensors.names():
            if name.endswith(tuple(ROLES)):
                whole = np.concatenate(list(source.tensors.chunks(name, 1 << 20)))
                yield f"{folder.name} {name}", name, whole.reshape(source.tensors.entry(name).shape), HEAD_DIM


def deviation(case: Case, dtype: str, quantiser: Quantiser) -> tuple[float, float] | None:
    """(from the median of the heads, from one) of the head furthest off, less the standard errors that are allowed."""
    _, name, values, head_dim = case
    found = stored(quantiser, dtype, values)
    if found is None:
        return None
    slopes = slopes_of_heads(OneTensor(values, "F32"), OneTensor(found, dtype), name, head_dim)
    if slopes is None:
        return None
    value, noise = slopes[0], TABLE["standard_errors"] * slopes[1]
    known = np.isfinite(value)
    value, noise = value[known], noise[known]
    several = len(value) >= TABLE["median_from_heads"]
    median = float(np.max(np.abs(value - np.median(value)) - noise)) if several else 0.0
    return max(median, 0.0), max(float(np.max(np.abs(value - 1) - noise)), 0.0)


def floors(cases: list[Case], types: list[str]) -> dict[str, dict[str, Any]]:
    """Type -> largest deviations [from the median, from one], and of what each was."""
    found: dict[str, dict[str, Any]] = {}
    for dtype in types:
        worst, of = [0.0, 0.0], ["", ""]
        for encoder, quantiser in quantisers().items():
            for case in cases:
                measured = deviation(case, dtype, quantiser)
                for i, value in enumerate(measured or ()):
                    if value > worst[i]:
                        worst[i], of[i] = value, f"{case[0]}, {encoder}"
        found[dtype] = {"measured": [round(v, 5) for v in worst], "of": of}
    return found


def print_table(found: dict[str, dict[str, Any]]) -> bool:
    """One line a type with its limits; whether every limit is kept."""
    print(f"{'type':6} {'from median':>12} {'limit':>8} {'from one':>10} {'limit':>8}  of")
    kept = True
    for dtype, row in found.items():
        median, one = row["measured"]
        limits = TABLE["types"][dtype]
        kept &= median <= limits["from_median"] and one <= limits["from_one"]
        of = " | ".join(row["of"])
        print(f"{dtype:6} {median:12.5f} {limits['from_median']:8.4f} {one:10.5f} {limits['from_one']:8.4f}  {of}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--columns", type=int, nargs="*", default=[256, 1024])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--models", type=Path, nargs="*", default=[REPOSITORY / "models" / "tiny-qwen2"])
    parser.add_argument("--types", nargs="*", default=list(TABLE["types"]))
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    cases = [case for columns in arguments.columns for case in drawn(arguments.heads, columns, arguments.seeds)]
    cases += [case for folder in arguments.models for case in of_model(folder)]
    found = floors(cases, arguments.types)
    kept = print_table(found)
    if arguments.output is not None:
        document = {"encoders": list(quantisers()), "cases": len(cases), "types": found}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
