"""The size of a fuzzing run: `--fuzz-inputs N` damaged files for each reader, `--fuzz-run R` another set of them,
`--fuzz-minutes M` at most. At its end the run says how many files each reader really got."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.fuzz.budget import Budget

RESULT = "fuzz_result"
BUDGET = pytest.StashKey[Budget]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "fuzzing of the readers")
    group.addoption("--fuzz-inputs", type=int, default=0, help="damaged files for each reader (default: a few)")
    group.addoption("--fuzz-run", type=int, default=1, help="number of the run: other numbers damage otherwise")
    group.addoption("--fuzz-minutes", type=float, default=0.0, help="minutes for all readers (default: no limit)")


@pytest.fixture
def job_seconds(request: pytest.FixtureRequest) -> float:
    """The time of this job out of `--fuzz-minutes`; 0 for no limit."""
    config = request.config
    if BUDGET not in config.stash:
        jobs = sum("test_many_damaged_files" in item.name for item in request.session.items)
        workers = getattr(config, "workerinput", {}).get("workercount", 1)
        config.stash[BUDGET] = Budget(60 * config.getoption("fuzz_minutes", 0.0), jobs, workers)
    return config.stash[BUDGET].next_job()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Files tried of those asked for, by reader."""
    sums: dict[str, Counter[str]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == RESULT and report.when == "call":
                    result = json.loads(value)
                    sums.setdefault(result.pop("reader"), Counter()).update(result)
    if not sums:
        return
    terminalreporter.section("damaged files", sep="=")
    for reader, total in sums.items():
        speed = total["inputs"] / max(total["seconds"], 0.01)
        terminalreporter.write_line(
            f"{reader:<12} {total['inputs']:>9,} of {total['asked']:>9,} files, {total['refused']:>9,} refused,"
            f" {speed:,.0f} a second"
        )
