"""Each test of the engine contract is seen to fail on an engine with one fault, and to pass without it.

In this process, over one loaded model: a stand-in of the host lies between, which refuses nothing itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from pytest_aprqa import engine_contract
from pytest_aprqa.engine_contract import LONG_TOKENS, QUESTIONS, TOKENS, EngineContract
from pytest_aprqa.engines import server
from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
from pytest_aprqa.engines.server import ServerThread
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.misbehaving_engine import BrokenProxy
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from pytest_aprqa.models.bundled import bundled_folder

ARTIFACT = describe_artifact(bundled_folder() / "models" / "tiny-qwen2", "safetensors")
LONG_S = 4.0  # of a long generation, most of it asleep
CHEAP = {"says what it is", "bad limit", "length", "logits"}  # tried with every fault; the others with their own
REAL_APP = server.make_app
Results = list[GenerationResult]


class Faulty:
    """The engine, but for one fault."""

    obeys = TorchEngine.obeys

    def __init__(self, engine: TorchEngine, fault: str) -> None:
        self._engine = engine
        self._fault = fault
        self._calls = 0
        self._spoilt = False
        self._last: GenerationResult | None = None

    def describe(self) -> EngineDescription:
        described = self._engine.describe()
        return dataclasses.replace(described, backend="tpu") if self._fault == "unknown backend" else described

    def logits(self, ids: Sequence[int], **options: Any) -> Any:
        rows = self._engine.logits(ids, **options)
        return rows[::-1].copy() if self._fault == "logits backwards" else rows

    def generate(self, requests: Sequence[GenerationRequest], progress: Any, on_token: Any = None) -> Results:
        self._calls += 1
        if not requests:
            return []
        progress = nothing if self._fault == "generates for nobody" else progress
        long = requests[0].max_new_tokens == LONG_TOKENS
        asked = [self._asked(one) for one in requests]
        if long:
            asked = [dataclasses.replace(one, max_new_tokens=4) for one in asked]
        results = self._engine.generate(asked, progress, self._sink(on_token))
        for _ in range(int(LONG_S / 0.05) if long else 0):
            time.sleep(0.05)
            progress("tokens", 0, 1)
        failed = any(one.error for one in results)
        return [self._changed(asked_for, one, failed) for asked_for, one in zip(requests, results, strict=True)]

    def _asked(self, request: GenerationRequest) -> GenerationRequest:
        fault = self._fault
        if fault == "takes a bad limit for one" and request.max_new_tokens < 1:
            return dataclasses.replace(request, max_new_tokens=1)
        if fault == "takes bad arguments" and request.problem is not None and request.max_new_tokens > 0:
            return dataclasses.replace(request, prompt="hello", temperature=0.0, seed=0, mode="raw")
        if fault == "one token more" and request.max_new_tokens in (1, 2):
            return dataclasses.replace(request, max_new_tokens=request.max_new_tokens + 1)
        if fault == "adds a space":
            return dataclasses.replace(request, prompt=f"{request.prompt} ")
        if fault == "has no seed" and request.temperature > 0:
            return dataclasses.replace(request, seed=self._calls, temperature=5.0)
        if fault == "cuts long prompts":
            return dataclasses.replace(request, prompt=request.prompt[:200])
        return request

    def _sink(self, on_token: Any) -> Any:
        if on_token is None or self._fault != "loses a piece":
            return on_token
        numbers = itertools.count()
        return lambda text, ids, *told: on_token("" if next(numbers) == 0 else text, ids, *told)

    def _changed(self, request: GenerationRequest, result: GenerationResult, failed: bool) -> GenerationResult:
        fault = self._fault
        self._spoilt = self._spoilt or (fault == "broken by an empty prompt" and not request.prompt)
        if self._spoilt or (fault == "one error for all" and failed):
            return dataclasses.replace(result, text="", new_ids=None, error="the batch failed")
        if fault == "swaps answers":
            self._last, result = result, self._last or result
            return dataclasses.replace(result, key=request.key)
        if fault == "shows the end token" and result.finish_reason == "stop":
            return dataclasses.replace(result, text=f"{result.text}<|im_end|>")
        if fault == "runs to the limit" and request.max_new_tokens == 200:
            return dataclasses.replace(result, finish_reason="length", new_ids=[1] * 200)
        if fault == "refuses in many lines" and result.error:
            return dataclasses.replace(result, error=f"{result.error}\nTraceback")
        return result


class StandIn:
    """What the contract asks of a host: bad arguments, too, reach the engine, or are refused where the fault is not."""

    def __init__(self, engine: TorchEngine, fault: str) -> None:
        self.engine = Faulty(engine, fault)
        self._fault = fault
        self._server: ServerThread | None = None

    def describe(self) -> EngineDescription:
        return self.engine.describe()

    def generate(self, requests: Sequence[GenerationRequest], timeout_s: float) -> Results:
        refused = {n: one.problem for n, one in enumerate(requests) if one.problem and not self._lets_through(one)}
        sound = iter(self.engine.generate([one for n, one in enumerate(requests) if n not in refused], nothing))
        return [
            GenerationResult(one.key, "", None, None, "error", 0.0, error=refused[n]) if n in refused else next(sound)
            for n, one in enumerate(requests)
        ]

    def _lets_through(self, request: GenerationRequest) -> bool:
        takes_limits, takes_others = self._fault == "takes a bad limit for one", self._fault == "takes bad arguments"
        return self._fault == "takes" or (takes_limits if request.max_new_tokens < 1 else takes_others)

    def logits(self, ids: Sequence[int], timeout_s: float) -> Any:
        return self.engine.logits(ids)

    def serve(self, timeout_s: float) -> str:
        if self._server is None:
            self._server = ServerThread(self.engine)
        return self._server.url


def nothing(*event: object) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    engine = TorchEngine(threads=1)
    engine.load(ARTIFACT, nothing)
    return engine


@pytest.fixture(scope="module")
def expected(engine: TorchEngine) -> Results:
    requests = [GenerationRequest(f"k{n}", prompt, max_new_tokens=TOKENS) for n, prompt in enumerate(QUESTIONS)]
    return engine.generate(requests, nothing)


Check = Callable[[EngineContract, Any, Results], None]
DIRECT: dict[str, Check] = {
    "says what it is": lambda c, h, e: c.test_it_says_what_it_is(h),
    "same ids": lambda c, h, e: c.test_same_file_gives_the_ids_of_torch(h, e),
    "repeats": lambda c, h, e: c.test_greedy_and_seeded_answers_repeat(h),
    "length": lambda c, h, e: c.test_length_limit_is_kept(h, e),
    "end token": lambda c, h, e: c.test_it_stops_at_the_end_token(h, ARTIFACT),
    "empty prompt": lambda c, h, e: c.test_empty_prompt_is_answered_or_refused(h),
    "long prompt": lambda c, h, e: c.test_prompt_longer_than_the_context_is_refused(h),
    "bad limit": lambda c, h, e: c.test_bad_limits_are_refused(h, 0),
    "bad arguments": lambda c, h, e: c.test_bad_arguments_are_refused(h, {"temperature": -0.1}),
    "others": lambda c, h, e: c.test_refusal_of_one_prompt_leaves_the_others_alone(h),
    "logits": lambda c, h, e: c.test_logits_are_those_that_the_greedy_answer_takes(h, e),
}
SERVED: dict[str, Check] = {
    "stream": lambda c, h, e: c.test_stream_assembles_to_the_whole_text(h),
    "clients": lambda c, h, e: c.test_concurrent_clients_get_the_answers_that_each_alone_gets(h),
    "goes away": lambda c, h, e: c.test_client_that_goes_away_frees_its_slot(h),
    "bad requests": lambda c, h, e: c.test_bad_requests_are_refused_with_4xx_and_json(h),
}
# fault -> what must fail
FAULTS = {
    "unknown backend": {"says what it is"},
    "adds a space": {"same ids", "length"},
    "has no seed": {"repeats"},
    "one token more": {"length"},
    "shows the end token": {"end token", "same ids"},
    "runs to the limit": {"end token"},
    "broken by an empty prompt": {"empty prompt"},
    "refuses in many lines": {"empty prompt", "long prompt"},
    "cuts long prompts": {"long prompt"},
    "takes a bad limit for one": {"bad limit", "others"},
    "takes bad arguments": {"bad arguments"},
    "logits backwards": {"logits"},
}


def failed(check: Check, host: StandIn, expected: Results) -> bool:
    try:
        check(EngineContract(), host, expected)
    except (AssertionError, TypeError):
        return True
    return False


@pytest.mark.parametrize("fault", ["no fault", *FAULTS])
def test_a_fault_fails_its_test_and_leaves_the_others_alone(engine: TorchEngine, expected: Results, fault: str) -> None:
    wanted = FAULTS.get(fault, set())
    tried = [name for name in DIRECT if name in wanted or name in CHEAP or fault == "no fault"]
    assert {name for name in tried if failed(DIRECT[name], StandIn(engine, fault), expected)} == wanted


def test_one_error_for_a_whole_batch_is_seen(engine: TorchEngine, expected: Results) -> None:
    """The stand-in lets the bad limit through, so that the engine refuses it itself."""
    host = StandIn(engine, "one error for all")
    host._fault = "takes"
    assert failed(DIRECT["others"], host, expected)
    sound = StandIn(engine, "takes")
    assert not failed(DIRECT["others"], sound, expected)


@contextlib.contextmanager
def served(engine: TorchEngine, fault: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(server, "make_app", lambda *a: BrokenProxy(REAL_APP(*a), fault.replace(" ", "_")))
    yield StandIn(engine, fault)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("loses a piece", "stream"),
        ("swaps answers", "clients"),
        ("generates for nobody", "goes away"),
        ("bad request is 200", "bad requests"),
    ],
)
def test_a_fault_of_serving_fails_its_test(
    engine: TorchEngine, expected: Results, monkeypatch: pytest.MonkeyPatch, fault: str, name: str
) -> None:
    with served(engine, fault, monkeypatch) as host:
        assert failed(SERVED[name], host, expected)
    with served(engine, "no fault", monkeypatch) as host:
        assert not failed(SERVED[name], host, expected)


def test_an_engine_that_loads_anything_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        EngineContract().test_file_that_is_none_is_a_load_error("tests.engines.misbehaving_engines:Behaves", tmp_path)


def test_characters_cut_between_their_tokens_are_seen(
    engine: TorchEngine, expected: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that decodes each token alone, over a text whose every character has several."""

    class DecodesAlone:
        """A host whose engine recites, each byte as a sign of its own."""

        def __init__(self, name: str, threads: int) -> None:
            self.text = name

        def __enter__(self) -> DecodesAlone:
            return self

        def __exit__(self, *exception: object) -> None:
            """Nothing to end."""

        def load(self, artifact: Artifact, limit_s: float) -> None:
            """Nothing to load."""

        def generate(self, requests: Sequence[GenerationRequest], limit_s: float) -> Results:
            recited = engine_contract.RECITED.encode()[: requests[0].max_new_tokens]
            text = "".join(bytes([byte]).decode("utf-8", errors="replace") for byte in recited)
            if self.text == "sound":
                text = recited.decode("utf-8", errors="replace")
            done = "stop" if requests[0].max_new_tokens >= engine_contract.RECITED_TOKENS else "length"
            return [GenerationResult("k", text, [1], [1], done, 0.1)]

        def serve(self, limit_s: float) -> str:
            raise NotImplementedError("all answers were sound")

    monkeypatch.setattr("pytest_aprqa.engines.host.EngineHost", DecodesAlone)
    for name, end in (("alone", AssertionError), ("sound", NotImplementedError)):
        contract = type("Contract", (EngineContract,), {"engine": name})()
        with pytest.raises(end):
            contract.test_characters_of_several_tokens_are_whole(ARTIFACT)
