"""Engines of a run: a batch that dies is asked one by one; an engine that does not come back blocks its items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_aprqa.engine_pool import EnginePool
from pytest_aprqa.engines import selection
from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineTimeout, EngineUnavailable
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact
from pytest_aprqa.target import Cell

ROOT = Path(__file__).parents[2]
RUN, SERVE = Cell("gguf", "cpu", "run"), Cell("gguf", "cpu", "serve")
GUILTY = GenerationRequest("direct", "guilty")
GOOD = GenerationRequest("direct", "hello")


class Model:
    """As much of a ModelUnderTest as the pool looks at."""

    def __init__(self, folder: Path, timeout_ms: int) -> None:
        self.settings = SimpleNamespace(
            timeout_ms=timeout_ms, no_gpu=False, apr_binary=None, engine_url=None, engine=None
        )
        self._folder = folder

    def artifact(self, format_name: str) -> Artifact:
        return Artifact(format_name, self._folder / f"model.{format_name}", "published", "0" * 64)


def scenarios(*prompts: str) -> list[Any]:
    return [
        SimpleNamespace(key=f"p{n}", prompt=prompt, max_tokens=4, temperature=0.0, seed=0)
        for n, prompt in enumerate(prompts)
    ]


@pytest.fixture
def messages() -> list[str]:
    return []


@pytest.fixture
def pool(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[EnginePool]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pool = EnginePool(messages.append, workers=1)
    yield pool
    pool.close()


@pytest.fixture
def model(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    name = f"tests.engines.misbehaving_engines:{request.param}"
    monkeypatch.setattr(selection, "engine_for", lambda *_, **__: name)
    return Model(tmp_path, timeout_ms=1000)


@pytest.mark.parametrize("cell", [RUN, SERVE], ids=str)
@pytest.mark.parametrize(
    ("model", "kind"),
    [("Segfaults", EngineCrashed), ("Panics", EngineCrashed), ("Hangs", EngineTimeout), ("Raises", EngineError)],
    indirect=["model"],
)
def test_only_the_guilty_prompt_fails(pool: EnginePool, model: Any, cell: Cell, kind: type[Exception]) -> None:
    answers = pool.answers(model, cell, scenarios("a", "guilty", "b"))
    assert {key: result.text for key, result in answers.results.items()} == {"p0": "fine", "p2": "fine"}
    assert {key: type(error) for key, error in answers.failures.items()} == {"p1": kind}
    if kind is EngineError:
        assert answers.deaths == []
    else:
        assert answers.failures["p1"] in answers.deaths
        assert len(answers.deaths) == (2 if cell is RUN else 1)  # as one batch, then alone
    assert pool.answers(model, cell, scenarios("never asked")) is answers
    assert pool.engine(model, "gguf", "cpu").generate([GOOD])[0].text == "fine"


@pytest.mark.parametrize("model", ["LoadsOnce", "HangsOnReload"], indirect=True)
@pytest.mark.parametrize("cell", [RUN, SERVE], ids=str)
def test_engine_that_does_not_come_back_blocks_what_follows(pool: EnginePool, model: Any, cell: Cell) -> None:
    model.settings.timeout_ms = 400
    answers = pool.answers(model, cell, scenarios("guilty", "a"))
    assert answers.results == {}
    assert isinstance(answers.failures["p0"], EngineCrashed)
    assert set(answers.failures) == {"p0", "p1"}
    for _ in range(2):
        with pytest.raises(EngineError, match="the engine died and did not load again"):
            pool.engine(model, "gguf", "cpu")


@pytest.mark.parametrize("model", ["LoadsOnce"], indirect=True)
def test_request_that_kills_the_engine_for_good_is_the_crash_itself(pool: EnginePool, model: Any) -> None:
    engine = pool.engine(model, "gguf", "cpu")
    with pytest.raises(EngineCrashed, match="SIGSEGV"):
        engine.generate([GUILTY])
    for ask in (lambda: engine.generate([GOOD]), lambda: engine.logits([1]), engine.server_url):
        with pytest.raises(EngineError, match="did not load again: RuntimeError: the file is gone") as caught:
            ask()
        assert type(caught.value) is EngineError


@pytest.mark.parametrize("model", ["Segfaults"], indirect=True)
def test_child_that_died_between_items_is_loaded_again_for_the_next_one(pool: EnginePool, model: Any) -> None:
    engine = pool.engine(model, "gguf", "cpu")
    for count, ask in enumerate((lambda: engine.logits([1]), engine.server_url, lambda: engine.generate([GOOD])), 2):
        engine.host._process.kill()  # type: ignore[union-attr]
        with pytest.raises(EngineCrashed):
            ask()
        assert engine.loads == count
    assert engine.generate([GOOD])[0].text == "fine"


@pytest.mark.parametrize("model", ["RefusesToLoad"], indirect=True)
def test_failed_load_is_remembered_and_not_tried_again(
    pool: EnginePool, model: Any, messages: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(EngineLoadError, match="tensor x is missing"):
            pool.engine(model, "gguf", "cpu")
    assert messages.count("gguf cpu: loading") == 1


@pytest.mark.parametrize("model", ["Behaves"], indirect=True)
def test_one_engine_is_alive_at_a_time_and_progress_names_its_cell(
    pool: EnginePool, model: Any, messages: list[str]
) -> None:
    first = pool.engine(model, "gguf", "cpu")
    assert pool.engine(model, "gguf", "cpu") is first
    second = pool.engine(model, "apr", "cpu")
    assert first.host.pid is None
    assert second.host.pid is not None
    assert "apr cpu: loading 2 2" in messages
    pool.close()
    assert second.host.pid is None


@pytest.mark.parametrize("model", ["Behaves"], indirect=True)
def test_gpu_that_is_switched_off_is_unavailable(pool: EnginePool, model: Any) -> None:
    model.settings.no_gpu = True
    with pytest.raises(EngineUnavailable, match="--no-gpu"):
        pool.engine(model, "gguf", "gpu")
