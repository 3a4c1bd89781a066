"""How the benchmarks measure: commands run in turns, medians of wall and processor time, results as JSON and a table.

Runs of the alternatives are interleaved, so that another load of the machine hits all of them alike.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results"
DEMO_PLAYBOOK = REPOSITORY / "playbooks" / "models" / "tiny-qwen2-mvp.playbook.yaml"


@dataclass
class Series:
    """Times of one alternative in seconds: wall clock, and processor time of the child processes."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median wall time in seconds."""
        return statistics.median(self.wall)

    @property
    def median_processor(self) -> float:
        """Median processor time in seconds."""
        return statistics.median(self.processor)

    def as_json(self) -> dict[str, Any]:
        """Medians and all values, rounded to a tenth of a millisecond."""
        return {
            "median_s": round(self.median, 4),
            "median_processor_s": round(self.median_processor, 4),
            "wall_s": [round(t, 4) for t in self.wall],
            "processor_s": [round(t, 4) for t in self.processor],
        }


def fastest(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Least processor time in seconds of each action, all threads together, run in turns.

    Not wall time: another load of the machine would take it from one alternative and not from the other.
    """
    best = dict.fromkeys(actions, float("inf"))
    for _ in range(repeats):
        for name, action in actions.items():
            start = time.process_time()
            action()
            best[name] = min(best[name], time.process_time() - start)
    return best


def timed(action: Callable[[], object], series: Series) -> None:
    """Run once and add its times. Child processes must have ended when the action returns."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    action()
    series.wall.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    series.processor.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def in_turns(actions: Mapping[str, Callable[[], object]], repeats: int, warm_up: int = 1) -> dict[str, Series]:
    """Run the alternatives in turns: first `warm_up` rounds that do not count, then `repeats` rounds."""
    series = {name: Series() for name in actions}
    for number in range(warm_up + repeats):
        for name, action in actions.items():
            timed(action, series[name] if number >= warm_up else Series())
    return series


def run(arguments: Sequence[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with the package of this checkout in a folder; stop the benchmark if it fails."""
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(arguments)}: exit {result.returncode}\n{result.stdout[-3000:]}{result.stderr[-3000:]}")
    return result


def pytest_with_plugin() -> list[str]:
    """Arguments that start pytest with this plugin and no other, installed or not."""
    return ["-m", "pytest", "-p", "pytest_aprqa.plugin", "-p", "no:cacheprovider"]


ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def show(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a table of two columns."""
    print(title)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:<{width}}  {value:>12}")


def write(name: str, **figures: Any) -> None:
    """Write benchmarks/results/{name}.json: figures, and what they were measured with."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "benchmark": name,
        "measured_with": {
            "python": platform.python_version(),
            "pytest": version("pytest"),
            "torch": version("torch"),
            "cores": os.cpu_count(),
            "machine": platform.machine(),
        },
        **figures,
    }
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"  wrote {path.relative_to(REPOSITORY)}")
