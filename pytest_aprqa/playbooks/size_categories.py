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
_SIZE_TOKEN = re.compile(r"(?:^|[^a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?![a-z0-9])")


def category_of(billions: float) -> str:
    """The size category of a model with this many 1e9 parameters."""
    return next(category for bound, category in UPPER_BOUNDS if billions < bound)


def billions_in_name(name: str) -> float | None:
    """Parameters (1e9) that a name such as `Qwen2.5-Coder-1.5B`, `SmolLM2-135M` or `Mixtral-8x7B` gives, or None."""
    match = _SIZE_TOKEN.search(name.lower())
    if match is None:
        return None
    size = float(match[2]) * int(match[1] or 1)
    return size / 1000 if match[3] == "m" else size


def category_from_name(name: str) -> str | None:
    """The category of the size token in a repository name, or None if it has none."""
    billions = billions_in_name(name)
    return None if billions is None else category_of(billions)
