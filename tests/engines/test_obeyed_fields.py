"""`stop` and `top_p` on the torch engine: cut where the text begins, drawn from the nucleus alone; else refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.nucleus import nucleus
from pytest_aprqa.engines.protocol import LONGEST_STOP, MOST_STOPS, GenerationRequest, GenerationResult
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from pytest_aprqa.models.bundled import bundled_folder

PROMPT = "def add(a, b):"


def nothing(*event: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    engine = TorchEngine(threads=1)
    engine.load(describe_artifact(bundled_folder() / "models" / "tiny-qwen2", "safetensors"), nothing)
    return engine


def asked(engine: TorchEngine, *requests: GenerationRequest, sink: Any = None) -> list[GenerationResult]:
    return engine.generate(list(requests), nothing, sink)


def test_an_answer_ends_before_its_stop_text_also_beside_others(engine: TorchEngine) -> None:
    (whole,) = asked(engine, GenerationRequest("w", PROMPT))
    middle = whole.text[len(whole.text) // 2 :][:2]
    expected = whole.text[: whole.text.index(middle)]
    stopping = GenerationRequest("s", PROMPT, stop=["never said", middle])
    alone = asked(engine, stopping)[0]
    first, beside = asked(engine, GenerationRequest("w", PROMPT), stopping)
    assert first.text == whole.text
    for result in (alone, beside):
        assert (result.text, result.finish_reason) == (expected, "stop")
        assert result.new_ids is not None
        assert whole.new_ids is not None
        assert result.new_ids == whole.new_ids[: len(result.new_ids)]
        assert len(result.new_ids) < len(whole.new_ids)


def test_nothing_of_a_stop_text_is_streamed(engine: TorchEngine) -> None:
    (whole,) = asked(engine, GenerationRequest("w", PROMPT))
    for begin in range(1, len(whole.text) - 3):
        stop = whole.text[begin : begin + 4]
        pieces: list[str] = []
        (result,) = asked(
            engine, GenerationRequest("s", PROMPT, stop=[stop]), sink=lambda text, ids, to=pieces: to.append(text)
        )
        assert "".join(pieces) == result.text == whole.text[: whole.text.index(stop)]


def test_a_stop_text_that_is_never_said_changes_nothing(engine: TorchEngine) -> None:
    whole, other = (asked(engine, GenerationRequest("w", PROMPT, stop=stop))[0] for stop in ([], ["~~~"]))
    assert (whole.text, whole.new_ids, whole.finish_reason) == (other.text, other.new_ids, other.finish_reason)


def test_draws_come_from_the_nucleus_alone(engine: TorchEngine) -> None:
    temperature, share = 8.0, 0.6  # the model is sure of its next token
    ids = engine.encode(PROMPT)
    logits = engine.logits(ids)[-1].astype(np.float64) / temperature
    weights = np.exp(logits - logits.max())
    inside = set(np.flatnonzero(nucleus(weights / weights.sum(), share)).tolist())
    options: dict[str, Any] = {"max_new_tokens": 1, "temperature": temperature}
    drawn = {
        p: {
            result.new_ids[0]  # type: ignore[index]
            for result in asked(
                engine, *(GenerationRequest(str(s), PROMPT, seed=s, top_p=p, **options) for s in range(200))
            )
        }
        for p in (share, 1.0)
    }
    assert drawn[share] <= inside
    assert len(drawn[share]) > 1 or len(inside) == 1
    assert drawn[1.0] - inside


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"top_p": 0.0}, "top_p: found 0.0, limit above 0 and at most 1"),
        ({"top_p": 1.0001}, "top_p: found 1.0001"),
        ({"top_p": float("nan")}, "top_p: found nan"),
        ({"stop": [""]}, "stop: found "),
        ({"stop": ["x"] * (MOST_STOPS + 1)}, "stop: found "),
        ({"stop": ["x" * (LONGEST_STOP + 1)]}, "stop: found "),
        ({"stop": ["\ud800"]}, "prompt: no text: half a character"),
    ],
)
def test_what_is_outside_its_limit_reaches_no_engine(changes: dict[str, Any], words: str) -> None:
    problem = GenerationRequest("k", "p", **changes).problem
    assert problem is not None
    assert problem.startswith(words)


@pytest.mark.parametrize("changes", [{"top_p": 1e-9}, {"stop": ["x" * LONGEST_STOP] * MOST_STOPS}])
def test_what_is_just_inside_is_sound(changes: dict[str, Any]) -> None:
    assert GenerationRequest("k", "p", **changes).problem is None


def test_an_engine_that_does_not_know_them_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with EngineHost("tests.engines.misbehaving_engines:Behaves") as host:
        host.load(Artifact("safetensors", Path("x"), "published", ""), timeout_s=60)
        requests = [
            GenerationRequest("a", "x"),
            GenerationRequest("b", "x", top_p=0.5, stop=["y"]),
            GenerationRequest("c", "x", stop=["y"]),
        ]
        sound, both, one = host.generate(requests, timeout_s=60)
    assert (sound.text, sound.error) == ("fine", None)
    assert both.error == "stop and top_p: not obeyed here"
    assert one.error == "stop: not obeyed here"
