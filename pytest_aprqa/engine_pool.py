"""Engines of this process: one alive at a time, loaded once per (model, format, backend), restarted after a death."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.scenarios import Scenario
    from pytest_aprqa.target import Cell

Answer = TypeVar("Answer")

# Loading gets more time than one scenario: a 7B model takes 60 to 90 s on a CPU (upstream-oddities section 5).
LOAD_TIMEOUT_FACTOR = 5


@dataclass(slots=True)
class CellAnswers:
    """What the scenarios of one cell produced: results and failures by scenario key, and how often the engine died."""

    results: dict[str, GenerationResult] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)
    deaths: list[Exception] = field(default_factory=list)


class LoadedEngine:
    """An engine with an artifact in it. `host` speaks to the child process; a dead child is started again."""

    def __init__(self, host: EngineHost, model: ModelUnderTest, format_name: str, backend: str) -> None:
        self.host = host
        self.model = model
        self.format = format_name
        self.backend = backend
        self.description: EngineDescription = self._load()
        self.loads = 1
        self.lost: Exception | None = None  # set when the engine died and could not be loaded again
        self._url: str | None = None

    def _load(self) -> EngineDescription:
        limit = self.model.settings.timeout_ms / 1000 * LOAD_TIMEOUT_FACTOR
        self.host.start()
        return self.host.load(self.model.artifact(self.format), timeout_s=limit)

    @property
    def timeout_s(self) -> float:
        """Time limit of one scenario in seconds."""
        return self.model.settings.timeout_ms / 1000

    def revive(self) -> None:
        """Start the child and load the artifact again, after a death. Never raises: see `lost`."""
        from pytest_aprqa.engines.errors import EngineError

        self._url = None
        try:
            self.host.restart()
            self.host.load(self.model.artifact(self.format), timeout_s=self.timeout_s * LOAD_TIMEOUT_FACTOR)
        except (EngineError, OSError) as error:
            self.lost = EngineError(f"the engine died and did not load again: {error}")
            self.host.close()
        else:
            self.loads += 1

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Results in the order of the requests.

        Raises EngineCrashed or EngineTimeout (the child is started again first), or EngineError.
        """
        if not self.one_by_one:
            return self._asked(lambda: self.host.generate(list(requests), timeout_s=self.timeout_s))
        return [
            self._asked(lambda r=request: self.host.generate([r], timeout_s=self.timeout_s))[0]  # type: ignore[misc]
            for request in requests
        ]

    @property
    def one_by_one(self) -> bool:
        """The engine takes one prompt at a time: the time limit of a scenario holds for each of them."""
        return bool(self.description is not None and self.description.details.get("one_at_a_time"))

    def logits(self, ids: Sequence[int], *, lasting: bool = True) -> Any:
        """float32 logits of shape (len(ids), vocabulary) for token ids, teacher-forced. Errors as `generate`.

        Not `lasting`: valid until the engine is asked again.
        """
        return self._asked(lambda: self.host.logits(list(ids), timeout_s=self.timeout_s, lasting=lasting))

    def hidden_states(self, ids: Sequence[int]) -> list[Any]:
        """float32 arrays (len(ids), hidden): after the embedding, then after each layer. Errors as `generate`."""
        return self._asked(lambda: self.host.hidden_states(list(ids), timeout_s=self.timeout_s))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of raw prompts by the engine's own tokenizer. Errors as `generate`; EngineUnavailable: it tells none."""
        return self._asked(lambda: self.host.encode(list(texts), timeout_s=self.timeout_s))

    def server_url(self) -> str:
        """Base URL of the OpenAI-compatible server over this very engine; started once. Errors as `generate`."""
        if self._url is None:
            self._url = self._asked(lambda: self.host.serve(timeout_s=self.timeout_s))
        return self._url

    def _asked(self, ask: Callable[[], Answer]) -> Answer:
        from pytest_aprqa.engines.errors import EngineCrashed, EngineTimeout

        if self.lost is not None:
            raise self.lost.with_traceback(None)
        try:
            return ask()
        except (EngineCrashed, EngineTimeout):
            self.revive()
            raise

    def close(self) -> None:
        """End the child process."""
        self.host.close()


class EnginePool:
    """Loads on demand. Another (model, format, backend) closes the engine before it, so memory holds one model.

    `upcoming` are the (playbook path, format, backend) that this process will ask for, in order; while one is loaded
    and asked, a spare child without a model imports its libraries for the next, unless that one is forked.
    """

    def __init__(
        self, on_progress: Callable[[str], None], workers: int, upcoming: Sequence[tuple[Path, str, str]] = ()
    ) -> None:
        self._on_progress = on_progress
        self._upcoming = upcoming
        self._spare: tuple[str, EngineHost] | None = None
        self.threads = max(1, (os.cpu_count() or 1) // max(1, workers))
        self._current: tuple[tuple[int, str, str], LoadedEngine] | None = None
        self._failures: dict[tuple[int, str, str], Exception] = {}
        self._answers: dict[tuple[int, str], CellAnswers] = {}

    def engine(self, model: ModelUnderTest, format_name: str, backend: str) -> LoadedEngine:
        """The loaded engine. A failed load is remembered and raised again, not tried again."""
        key = (id(model), format_name, backend)
        if key in self._failures:
            raise self._failures[key].with_traceback(None)
        if self._current is not None and self._current[0] == key:
            engine = self._current[1]
            if engine.lost is not None:
                self._failures[key] = engine.lost
                raise engine.lost.with_traceback(None)
            return engine
        self._end_current()
        try:
            engine = self._start(model, format_name, backend)
        except (OSError, ValueError, RuntimeError) as error:
            self._failures[key] = error
            raise
        self._current = (key, engine)
        return engine

    def _start(self, model: ModelUnderTest, format_name: str, backend: str) -> LoadedEngine:
        name = _engine_name(model, format_name, backend)
        label = f"{format_name} {backend}"

        def progress(*event: object) -> None:
            self._on_progress(f"{label}: {' '.join(map(str, event))}")

        self._on_progress(f"{label}: loading")
        host = self._host(name)
        host.on_progress = progress
        try:
            host.start()  # it imports its libraries while this process derives or digests the artifact
            self._start_spare(model, format_name, backend)
            model.artifact(format_name)
            return LoadedEngine(host, model, format_name, backend)
        except BaseException:
            host.close()
            raise

    def _host(self, name: str) -> EngineHost:
        """The spare child, if it is of this engine; else a new one, not started."""
        from pytest_aprqa.engines.host import EngineHost

        if self._spare is not None and self._spare[0] == name:
            host, self._spare = self._spare[1], None
            return host
        return EngineHost(name, threads=self.threads)

    def _start_spare(self, model: ModelUnderTest, format_name: str, backend: str) -> None:
        """Start a child for the next of the upcoming engines that can run here. A courtesy: it never fails."""
        from pytest_aprqa.engines.errors import EngineError
        from pytest_aprqa.engines.forked_process import can_be_forked

        if self._spare is not None or not self._upcoming:
            return
        now = (model.playbook.path, format_name, backend)
        if now not in self._upcoming:
            return
        for path, next_format, next_backend in self._upcoming[self._upcoming.index(now) + 1 :]:
            if path != now[0]:
                return  # another playbook may have other settings
            with contextlib.suppress(EngineError, OSError):
                name = _engine_name(model, next_format, next_backend)
                if not can_be_forked(name):  # a fork has its libraries already
                    host = self._host(name)
                    host.start()
                    self._spare = (name, host)
                return

    def answers(self, model: ModelUnderTest, cell: Cell, scenarios: Sequence[Scenario]) -> CellAnswers:
        """All scenarios of a cell in one batch. If the batch dies, each one alone, so that only the guilty fail."""
        key = (id(model), str(cell))
        if key in self._answers:
            return self._answers[key]
        engine = self.engine(model, cell.format, cell.backend)
        self._on_progress(f"{cell.format} {cell.backend}: {cell.modality}, {len(scenarios)} prompts")
        answers = CellAnswers()
        if cell.modality == "serve":
            from pytest_aprqa.served_answers import ask_server

            ask_server(engine, scenarios, answers)
        else:
            _ask_engine(engine, cell.modality, scenarios, answers)
        self._answers[key] = answers
        return answers

    def retire(self, engine: LoadedEngine) -> None:
        """End an engine now; a later item that asks for it loads it again."""
        if self._current is not None and self._current[1] is engine:
            self._end_current()
        engine.close()

    def close(self) -> None:
        """End the engine that is alive, if any, and the spare child."""
        self._end_current()
        if self._spare is not None:
            self._spare[1].close()
            self._spare = None

    def _end_current(self) -> None:
        if self._current is not None:
            self._current[1].close()
            self._current = None


def _engine_name(model: ModelUnderTest, format_name: str, backend: str) -> str:
    """Name of the engine; EngineUnavailable with the reason."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.engines.selection import engine_for

    if backend == "gpu" and model.settings.no_gpu:
        raise EngineUnavailable("gpu cells are switched off by --no-gpu")
    settings = model.settings
    return engine_for(
        format_name,
        backend,
        apr_binary=settings.apr_binary,
        engine_url=settings.engine_url,
        engine=settings.engine,
        plugins=getattr(settings, "plugins", ()),
    )


def request_of(scenario: Scenario, modality: str) -> GenerationRequest:
    """The engine request of a scenario: `chat` goes through the artifact's own template, `run` is raw completion."""
    from pytest_aprqa.engines.protocol import GenerationRequest

    return GenerationRequest(
        key=scenario.key,
        prompt=scenario.prompt,
        mode="chat" if modality == "chat" else "raw",
        max_new_tokens=scenario.max_tokens,
        temperature=scenario.temperature,
        seed=scenario.seed,
    )


def _ask_engine(engine: LoadedEngine, modality: str, scenarios: Sequence[Scenario], answers: CellAnswers) -> None:
    from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineTimeout

    requests = [request_of(scenario, modality) for scenario in scenarios]
    try:
        if engine.one_by_one and len(requests) > 1:
            raise EngineError("each prompt is asked for alone")
        for result in engine.generate(requests):
            _file(result, answers)
        return
    except (EngineCrashed, EngineTimeout) as death:
        answers.deaths.append(death)
        if len(requests) == 1 or engine.lost is not None:
            # Nobody can say any more which prompt it was.
            answers.failures.update((request.key, death) for request in requests)
            return
    except EngineError as error:
        if len(requests) == 1:
            answers.failures[requests[0].key] = error
            return
    for request in requests:
        try:
            _file(engine.generate([request])[0], answers)
        except (EngineCrashed, EngineTimeout) as death:
            answers.deaths.append(death)
            answers.failures[request.key] = death
        except EngineError as error:
            answers.failures[request.key] = error


def _file(result: GenerationResult, answers: CellAnswers) -> None:
    from pytest_aprqa.engines.errors import EngineError

    error = getattr(result, "error", None)
    if error:
        answers.failures[result.key] = EngineError(error)
    else:
        answers.results[result.key] = result
