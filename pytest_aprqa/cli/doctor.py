"""`aprqa doctor`: what of this machine a run would use: versions, engines, GPU, memory, disk, cache."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

GOOD, NOTE, BAD = "ok", "note", "problem"
LOWEST_FREE = 5 << 30  # bytes: derived formats of a 1.5B model
PACKAGES = (
    ("pytest", "runs the checks"),
    ("torch", "the reference and the engine for every format"),
    ("transformers", "the reference"),
    ("numpy", "reads and compares weights"),
    ("gguf", "writes GGUF"),
    ("tokenizers", "tokenises as the file declares"),
)
EXTRAS = (
    ("xdist", "pytest-xdist", "runs with -n"),
    ("llama_cpp", "llama-cpp-python", "llama.cpp as an engine for GGUF"),
    ("pynvml", "nvidia-ml-py", "facts of the GPU"),
    ("hypothesis", "hypothesis", "draws prompts and falsifies invariants"),
    ("model_signing", "model-signing", "signs certificates"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    level: str
    subject: str
    found: str
    advice: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON instead of text.")
def command(as_json: bool) -> int:
    """Look at what a run needs and may use on this machine. Exit code 1 when something needed is missing.

    Example: aprqa doctor --json
    """
    from pytest_aprqa.reporting.hostile_text import for_terminal

    found = list(findings())
    problems = sum(one.level == BAD for one in found)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return int(problems > 0)
    colours = {GOOD: "green", NOTE: "yellow", BAD: "red"}
    for one in found:
        advice = f"; {one.advice}" if one.advice else ""
        click.secho(f"{one.level:8}", fg=colours[one.level], nl=False)
        click.echo(f"{one.subject:14} {for_terminal(one.found + advice)}")
    click.echo("everything that a run needs is here" if not problems else f"{problems} problems")
    return int(problems > 0)


def findings() -> Iterator[Finding]:
    """All findings, in a fixed order. A look that fails is a finding, never an error."""
    for look in (_python, _packages, _extras, _gpu, _apr, _memory, _cache):
        try:
            yield from look()
        except Exception as error:  # whatever a driver or a broken installation raises
            yield Finding(BAD, look.__name__.strip("_"), f"{type(error).__name__}: {error}")


def _python() -> Iterator[Finding]:
    yield Finding(GOOD, "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _packages() -> Iterator[Finding]:
    for name, purpose in PACKAGES:
        version = _version(name)
        if version is None:
            yield Finding(BAD, name, f"is not installed: {purpose}", "pip install pytest-aprqa")
        else:
            yield Finding(GOOD, name, version)


def _extras() -> Iterator[Finding]:
    from importlib.util import find_spec

    for module, name, purpose in EXTRAS:
        specification = find_spec(module)
        if specification is None or specification.origin is None:
            yield Finding(NOTE, name, f"is not installed: {purpose}", f"pip install {name}")
        else:
            yield Finding(GOOD, name, _version(name) or "is installed")


def _gpu() -> Iterator[Finding]:
    from pytest_aprqa.engines.selection import gpu_problem

    problem = gpu_problem()
    if problem:
        yield Finding(NOTE, "gpu", f"not found: {problem}: gpu cells are skipped")
    else:
        yield Finding(GOOD, "gpu", _gpu_names() or "is visible; its name is not found, which takes nvidia-ml-py")


def _gpu_names() -> str:
    """Names of the devices that the driver sees, as `2 x NVIDIA H200`; empty where they cannot be asked."""
    try:
        import pynvml

        pynvml.nvmlInit()
        try:
            devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            names = [str(pynvml.nvmlDeviceGetName(device)) for device in devices]
        finally:
            pynvml.nvmlShutdown()
    except Exception:  # a driver without a name is still a driver; pynvml raises its own hierarchy
        return ""
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))


def _apr() -> Iterator[Finding]:
    from pytest_aprqa.engines.apr_program import find_program, probe
    from pytest_aprqa.engines.errors import EngineUnavailable

    if shutil.which("apr") is None:
        yield Finding(NOTE, "apr", "not found on PATH: APR files are run on torch", "name it with --apr-binary")
        return
    path = find_program("apr")
    try:
        yield Finding(GOOD, "apr", f"{probe(path).version}, {path}")
    except (EngineUnavailable, OSError) as error:
        yield Finding(NOTE, "apr", f"{path}: version not found: {error}")


def _memory() -> Iterator[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    cores: Callable[[], int | None] = os.cpu_count
    text = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free, {cores()} cores"
    largest = memory.available / 2.2 / 1e9  # two bytes a weight and a tenth for activations
    yield Finding(GOOD, "memory", f"{text}: room for about {largest:.1f}e9 weights in 16 bits")


def _cache() -> Iterator[Finding]:
    from pytest_aprqa.lifecycle.cache import cache_folder
    from pytest_aprqa.models.location import hub_cache

    folder = Path(cache_folder())
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding(BAD, "work cache", f"{folder} cannot be written", "set APRQA_CACHE to another folder")
    elif free < LOWEST_FREE:
        yield Finding(NOTE, "work cache", f"{folder}: only {free / 2**30:.1f} GiB free", "set APRQA_CACHE")
    else:
        yield Finding(GOOD, "work cache", f"{folder}: {free / 2**30:.1f} GiB free")
    hub = hub_cache(os.environ)
    if hub.is_dir():
        yield Finding(GOOD, "hub cache", str(hub))
    else:
        yield Finding(NOTE, "hub cache", f"not found: {hub}", "set HF_HOME, or name models with --model-path")
