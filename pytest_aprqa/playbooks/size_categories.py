"""Size categories of models by parameter count, and how to read a count from a repository name."""

from __future__ import annotations

import re

# Upper bound in 1e9 parameters (exclusive), category. A model of exactly 5e9 is medium.
UPPER_BOUNDS: tuple[tuple[float, str], ...] = (
    (1.0, "tiny"),
    (5.0, "small"),
    (10.0, "medium"),
    (30.0, "large"),
    (70.0, "xlarge"),
    (float("inf"), "huge"),
)
CATEGORIES = tuple(category for _, category in UPPER_BOUNDS)
# Sizes (1e9 parameters, upper bound exclusive) that some table in use calls so: the one above, those of the earlier
# tool's runner, registry and list of models (playbook.md 7.3). What lies outside is called so by none.
RANGES: dict[str, tuple[float, float]] = {
    "tiny": (0.0, 1.0),
    "small": (1.0, 5.0),
    "medium": (2.0, 10.0),
    "large": (4.0, 30.0),
    "xlarge": (10.0, 70.0),
    "huge": (30.0, float("inf")),
}
# A model's parameters, counted, differ from the size in its name by rounding and by what is left out (embeddings).
COUNT_TOLERANCE = 0.15
# Runs of such a model that fit beside each other on one machine (playbook.md 7.3).
WORKERS = {"tiny": 4, "small": 4, "medium": 2, "large": 1, "xlarge": 1, "huge": 1}
_SIZE_TOKEN = re.compile(r"(?:^|[^a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:[._]\d{1,3})?)([bm])(?![a-z0-9])")


def category_of(billions: float) -> str:
    """The size category of a model with this many 1e9 parameters."""
    return next(category for bound, category in UPPER_BOUNDS if billions < bound)


def billions_in_name(name: str) -> float | None:
    """Parameters (1e9) that a name such as `Qwen2.5-1.5B`, `SmolLM2-135M`, `x-1_6b`, `Mixtral-8x7B` gives, or None."""
    match = _SIZE_TOKEN.search(name.lower())
    if match is None:
        return None
    size = float(match[2].replace("_", ".")) * int(match[1] or 1)
    return size / 1000 if match[3] == "m" else size


def category_from_name(name: str) -> str | None:
    """The category of the size token in a repository name, or None if it has none."""
    billions = billions_in_name(name)
    return None if billions is None else category_of(billions)


def fits(category: str, billions: float, *, tolerance: float = 0.0) -> bool:
    """True where some table calls a model of BILLIONS (1e9 parameters) CATEGORY; bounds widened by the tolerance."""
    low, high = RANGES[category]
    return low * (1 - tolerance) <= billions < high * (1 + tolerance)


def fitting(billions: float) -> list[str]:
    """Every category that a model of BILLIONS (1e9 parameters) may be given."""
    return [category for category in CATEGORIES if fits(category, billions)]


def range_text(category: str) -> str:
    """`1 to 5 billion parameters`, `30 billion parameters or more`, as errors say it."""
    low, high = RANGES[category]
    if high == float("inf"):
        return f"{low:g} billion parameters or more"
    return f"less than {high:g} billion parameters" if low == 0 else f"{low:g} to {high:g} billion parameters"


def capped_workers(category: str | None, requested: int) -> int:
    """Workers for a model of this category; one where nothing tells its size."""
    return min(requested, WORKERS[category] if category else 1)
