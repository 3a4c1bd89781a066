"""The size of a fuzzing run: `--fuzz-inputs N` damaged files for each reader, `--fuzz-run R` another set of them,
`--fuzz-minutes M` at most. A run in which a reader got fewer files than that fails and says so."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any

import pytest

from tests.fuzz import corpus
from tests.fuzz.budget import Budget
from tests.fuzz.targets import TARGETS

RESULT = "fuzz_result"
BUDGET = pytest.StashKey[Budget]()
LARGEST_PART = 50_000  # inputs of one process
SMALLEST_PARTS = 2  # of a long run, so that two processes share each reader


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz", "fuzzing of the readers")
    group.addoption("--fuzz-inputs", type=int, default=0, help="damaged files for each reader (default: a few)")
    group.addoption("--fuzz-run", type=int, default=1, help="number of the run: other numbers damage otherwise")
    group.addoption("--fuzz-minutes", type=float, default=0.0, help="minutes for all readers (default: no limit)")
    group.addoption("--fuzz-keep", action="store_true", help="add a file of each new refusal to the kept corpus")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A long run is cut into parts of each reader; all readers begin before any gets its next part."""
    if metafunc.function.__name__ != "test_many_damaged_files":
        return
    asked = metafunc.config.getoption("fuzz_inputs", 0)
    parts = min(max(SMALLEST_PARTS, -(-asked // LARGEST_PART)), max(1, asked))
    ends = [asked * part // parts for part in range(parts + 1)]
    rows = [(reader, ends[part], ends[part + 1] - ends[part]) for part in range(parts) for reader in TARGETS]
    metafunc.parametrize(("reader", "first", "count"), rows, ids=[f"{reader}-{first}" for reader, first, _ in rows])


@pytest.fixture
def job_seconds(request: pytest.FixtureRequest) -> float:
    """The time of this job out of `--fuzz-minutes`; 0 for no limit."""
    config = request.config
    if BUDGET not in config.stash:
        jobs = sum("test_many_damaged_files" in item.name for item in request.session.items)
        workers = getattr(config, "workerinput", {}).get("workercount", 1)
        config.stash[BUDGET] = Budget(60 * config.getoption("fuzz_minutes", 0.0), jobs, workers)
    return config.stash[BUDGET].next_job()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session, in the process that the user started, when a reader got fewer files than were asked for."""
    if exitstatus == pytest.ExitCode.OK and any(total["inputs"] < total["asked"] for total in _sums(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Files tried of those asked for, by reader."""
    sums = _sums(config)
    if not sums:
        return
    run = config.getoption("fuzz_run", 1)
    terminalreporter.section(f"damaged files, run {run}", sep="=")
    for total in sums:
        speed = total["inputs"] / max(total["seconds"], 0.01)
        line = f"{total['reader']:<12} {total['inputs']:>9,} of {total['asked']:>9,} files, "
        line += f"{total['refused']:>9,} refused, {speed:,.0f} a second"
        few = total["inputs"] < total["asked"]
        terminalreporter.write_line(line + (" - FEWER THAN ASKED FOR" if few else ""), red=few)
        new = {rule: base64.b64decode(data) for rule, data in total["rules"].items()}
        if new and config.getoption("fuzz_keep", False):
            corpus.add(total["reader"], new)
            terminalreporter.write_line(f"{'':<12} {len(new)} new refusals, a file of each is in the kept corpus")


def _sums(config: pytest.Config) -> list[dict[str, Any]]:
    """The results of the jobs that ended, added up for each reader; empty in a worker of xdist."""
    sums: dict[str, Counter[str]] = {}
    rules: dict[str, dict[str, str]] = {}
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    for report in [one for reports in (reporter.stats.values() if reporter else ()) for one in reports]:
        for name, value in getattr(report, "user_properties", ()):
            if name == RESULT and report.when == "call":
                result = json.loads(value)
                reader = result.pop("reader")
                rules.setdefault(reader, {}).update(result.pop("rules"))
                sums.setdefault(reader, Counter()).update(result)
    return [{"reader": reader, **sums[reader], "rules": rules[reader]} for reader in sums]
