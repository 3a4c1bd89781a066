"""Tensors that quantisers get wrong: outliers, constants, zero rows, values near the ends of binary16, exact grids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Error, as a share of the squares, that rounding factors to binary16 makes or spares by chance: (2^-10)^2 and a bit.
ROUNDING = 2e-6
TINY = (1e-40, 1e-30, 1e-12, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4)


def outlier_tensors() -> dict[str, NDArray[np.float32]]:
    """Name -> [32, 512]; the same values at every call."""
    random = np.random.default_rng(24)
    shape = (32, 512)
    gauss = random.normal(0, 0.02, shape)
    rows, steps = np.arange(32), np.repeat(10 ** random.uniform(-6, 0, (32, 16)), 32, axis=1)
    found = {f"normal, {size:g}": random.normal(0, size, shape) for size in TINY}
    found |= {
        "zero rows": np.where((rows % 2 == 0)[:, None], 0, gauss),
        "constant rows": np.repeat(random.normal(0, 1, (32, 1)), 512, axis=1),
        "positive constants": np.repeat(random.uniform(0.1, 2, (32, 1)), 512, axis=1),
        "nearly constant rows": np.repeat(random.normal(0, 1, (32, 1)), 512, axis=1) + 0.01 * gauss,
        "near the largest binary16": random.uniform(-65504, 65504, shape),
        "heavy tails": np.clip(random.standard_cauchy(shape), -60000, 60000),
        "magnitudes of 15 decades": 10 ** random.uniform(-12, 3, shape) * random.choice([-1, 1], shape),
        "blocks of six decades": random.normal(0, 1, shape) * steps,
        "signs": random.choice([-1.0, 1.0], shape),
        "three values": random.choice([-1.0, 0.0, 1.0], shape),
        "a grid of 16": random.integers(-8, 8, shape) * 0.125,
        "a grid from zero": random.integers(0, 16, shape) * 0.125,
        "far from zero": random.normal(10, 0.1, shape),
        "far below zero": random.normal(-10, 0.1, shape),
        "skewed": random.exponential(1, shape),
        "two clusters": random.normal(0, 0.01, shape) + random.choice([0, 1.0], shape),
    }
    for name, every in (("an outlier in a row", 512), ("in 256", 256), ("in a block", 32)):
        values = gauss.copy()
        values[:, ::every] = 100 * random.choice([-1, 1], (32, 512 // every))
        found[name] = values
    alone = np.zeros(shape)
    alone[rows, random.integers(0, 512, 32)] = random.normal(0, 1, 32)
    found["one value in a row"] = alone
    return {name: values.astype(np.float32) for name, values in found.items()}
