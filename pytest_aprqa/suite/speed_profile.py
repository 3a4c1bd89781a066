"""`profile_ci`: requests one at a time, warm-up first; speeds, latencies and peak memory; measured once an engine."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.playbooks.playbook import Playbook

NEW_TOKENS = 16
BASELINE_VERSION = 1
LARGEST_BASELINE = 4 << 20  # bytes


class BaselineError(ValueError):
    """A saved baseline cannot be used."""


@dataclass(slots=True)
class SpeedProfile:
    """Of each measured request: new tokens a second, and milliseconds from asking to the end of its answer.

    `memory_mib`: most resident memory of the engine's process so far; None where the system does not tell.
    """

    speeds: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    memory_mib: float | None = None


def profile_of(engine: LoadedEngine, playbook: Playbook) -> SpeedProfile:
    """Measure once an engine, for all checks. Errors of the engine."""
    from pytest_aprqa.suite.parity import ask_once

    return ask_once(engine, "speed-profile", lambda: _measure(engine, playbook))


def _measure(engine: LoadedEngine, playbook: Playbook) -> SpeedProfile:
    from pytest_aprqa.engines.protocol import GenerationRequest

    settings: Any = playbook.profile_ci
    prompts = playbook.matrix.prompts
    profile = SpeedProfile()
    for number in range(settings["warmup"] + settings["measure"]):
        request = GenerationRequest(f"speed-{number}", prompts[number % len(prompts)], "raw", NEW_TOKENS)
        started = time.perf_counter()
        result = engine.generate([request])[0]
        seconds = time.perf_counter() - started
        if number >= settings["warmup"] and result.new_length:
            profile.speeds.append(result.new_length / seconds)
            profile.latencies_ms.append(seconds * 1000)
    profile.memory_mib = peak_memory_mib(engine.host.pid)
    return profile


def peak_memory_mib(pid: int | None) -> float | None:
    """Most resident memory of a living process since its start, MiB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    line = next((line for line in text.splitlines() if line.startswith("VmHWM:")), None)
    return int(line.split()[1]) / 1024 if line is not None else None


def machine() -> str:
    """What speeds depend on, in words: a baseline of another machine says nothing."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"


def read_baseline(path: Path) -> dict[str, dict[str, Any]]:
    """`format-backend` -> {samples, engine, machine} of a file that `aprqa baseline` wrote. BaselineError."""
    try:
        if path.stat().st_size > LARGEST_BASELINE:
            raise BaselineError(f"{path}: {path.stat().st_size} bytes, limit {LARGEST_BASELINE}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise BaselineError(f"{path}: is nested too deep") from None
    except ValueError as error:
        if isinstance(error, BaselineError):
            raise
        raise BaselineError(f"{path}: is not JSON: {error}") from None
    speeds = data.get("speeds") if isinstance(data, dict) and data.get("version") == BASELINE_VERSION else None
    if not isinstance(speeds, dict):
        raise BaselineError(f"{path}: needs version {BASELINE_VERSION} and speeds; write it with aprqa baseline")
    for cell, entry in speeds.items():
        samples = entry.get("samples") if isinstance(entry, dict) else None
        if not isinstance(samples, list) or not samples or not all(type(value) in (int, float) for value in samples):
            raise BaselineError(f"{path}: speeds.{cell}.samples: a list of speeds in tokens/s is needed")
    return dict(speeds)
