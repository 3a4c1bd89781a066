"""A conversion along a path of formats, each step from the file before it, so that two ways to one format can be
compared (round trips, commutativity)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pytest_aprqa.lifecycle.progress import Progress
from pytest_aprqa.lifecycle.source import open_source
from pytest_aprqa.lifecycle.to_apr import write_apr_from
from pytest_aprqa.lifecycle.to_gguf import write_gguf_from
from pytest_aprqa.lifecycle.to_safetensors import write_safetensors_from
from pytest_aprqa.models.artifact import open_artifact

_WRITERS = {"apr": write_apr_from, "gguf": write_gguf_from}


def convert(
    start: Path, steps: Sequence[str], work: Path, *, dtype: str = "native", progress: Progress | None = None
) -> Path:
    """Convert `start` to each format of `steps` in turn, in new folders below `work`; the last file (ST: folder).

    `dtype` is asked for in the last step. Raises LifecycleError, FormatError or ModelError.
    """
    current = start
    for number, step in enumerate(steps):
        folder = work / f"{number}-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        option = dtype if number == len(steps) - 1 else "native"
        current = convert_once(current, step, folder, dtype=option, progress=progress)
    return current


def convert_once(
    start: Path, step: str, folder: Path, *, dtype: str = "native", progress: Progress | None = None
) -> Path:
    """Convert one file (or SafeTensors folder) to format `step` below `folder`. Errors as `convert`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_artifact(start) as artifact:
        if step == "safetensors":
            return write_safetensors_from(artifact, folder, progress=progress)
        source = artifact.folder
        if artifact.format != "safetensors":
            source = write_safetensors_from(artifact, folder / "source", progress=progress)
    target = folder / f"model.{step}"
    with open_source(source) as opened:
        _WRITERS[step](opened, target, dtype=dtype, progress=progress)
    return target
