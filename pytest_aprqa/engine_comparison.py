"""The same prompts on every engine that can run a file, side by side, and what each pair disagrees about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.engines.plugins import EnginePlugin
    from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
    from pytest_aprqa.models.artifact import Artifact

FORMATS = ("safetensors", "apr", "gguf")
MODES = ("raw", "chat")


@dataclass(slots=True)
class EngineRun:
    """What one engine made of one file. `problem`: it did not run, or died, in one line; `skipped`: it cannot here."""

    format: str
    path: Path
    engine: str
    description: EngineDescription | None = None
    results: dict[str, GenerationResult] = field(default_factory=dict)
    problem: str | None = None
    skipped: bool = False
    differences: list[str] = field(default_factory=list)


def artifacts_of(path: Path, progress: Callable[[str], None]) -> list[Artifact]:
    """A file as it is; of a model's folder its SafeTensors and the other two formats, derived if they are not there."""
    from pytest_aprqa.formats.opening import open_tensor_file
    from pytest_aprqa.lifecycle.cache import cache_folder
    from pytest_aprqa.lifecycle.derive import derive
    from pytest_aprqa.models.artifact import describe_artifact
    from pytest_aprqa.models.location import find_artifact_file

    if not path.is_dir():
        with open_tensor_file(path) as file:
            format_name = file.format
        return [describe_artifact(path, format_name)]
    found = []
    for format_name in FORMATS:
        published = find_artifact_file(path, format_name)
        if published is not None:
            found.append(describe_artifact(published, format_name))
        elif format_name != FORMATS[0]:
            progress(f"deriving {format_name}")
            found.append(derive(path, format_name, cache=cache_folder()))
    return found


def compare_engines(
    artifacts: Sequence[Artifact],
    engines: Sequence[EnginePlugin],
    prompts: Sequence[str],
    *,
    max_tokens: int,
    limit_s: float,
    apr_binary: str | None = None,
    engine_url: str | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Iterator[EngineRun]:
    """One run for each (file, engine), each compared with the first of all that ran: the first file on torch.

    A difference of chat is looked for only where both answered.
    """
    requests = _requests(prompts, max_tokens)
    first: EngineRun | None = None
    for artifact in artifacts:
        for engine in engines:
            progress(f"{artifact.format} on {engine.name}")
            run = _run(artifact, engine, requests, limit_s, apr_binary, engine_url)
            if run.results and first is None:
                first = run
            elif run.results and first is not None:
                run.differences = list(_differences(first, run, requests))
            yield run


def _run(
    artifact: Artifact,
    engine: EnginePlugin,
    requests: Sequence[GenerationRequest],
    limit_s: float,
    apr_binary: str | None,
    engine_url: str | None,
) -> EngineRun:
    from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineTimeout, EngineUnavailable
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.engines.selection import engine_for

    run = EngineRun(artifact.format, artifact.path, engine.name)
    try:
        name = engine_for(
            artifact.format, "cpu", apr_binary=apr_binary, engine_url=engine_url, engine=[engine.name], plugins=[engine]
        )
        with EngineHost(name) as host:
            run.description = host.load(artifact, limit_s)
            for request in requests:
                try:
                    run.results[request.key] = host.generate([request], limit_s)[0]
                except (EngineCrashed, EngineTimeout) as death:
                    run.problem = str(death)
                    host.restart()
                    host.load(artifact, limit_s)
    except EngineUnavailable as error:
        run.problem, run.skipped = str(error), True
    except (EngineError, OSError, ValueError) as error:
        run.problem = str(error)
    return run


def _requests(prompts: Sequence[str], max_tokens: int) -> list[GenerationRequest]:
    from pytest_aprqa.engines.protocol import GenerationRequest

    return [
        GenerationRequest(f"{mode} {number}", prompt, mode, max_new_tokens=max_tokens)
        for mode in MODES
        for number, prompt in enumerate(prompts)
    ]


def _differences(first: EngineRun, run: EngineRun, requests: Sequence[Any]) -> Iterator[str]:
    from pytest_aprqa.suite.modality_agreement import disagreement

    names = (f"{first.engine} ({first.format})", run.engine)
    for request in requests:
        one, other = first.results.get(request.key), run.results.get(request.key)
        where = f"{request.mode} {request.prompt!r}"
        if one is None or other is None:
            continue
        if other.error and not one.error:
            yield f"{where}: {other.error}"
        elif not one.error and (text := disagreement(one, other, names)) is not None:
            yield f"{where}: {text}"
