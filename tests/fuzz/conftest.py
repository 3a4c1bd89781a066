"""The size of a fuzzing run: `--fuzz-inputs N` damaged files for each reader, `--fuzz-run R` another set of them."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "fuzzing of the readers")
    group.addoption("--fuzz-inputs", type=int, default=0, help="damaged files for each reader (default: a few)")
    group.addoption("--fuzz-run", type=int, default=1, help="number of the run: other numbers damage otherwise")
