"""What every engine must do, as tests: subclass `EngineContract` in a test module and name your engine.

Runs on the bundled model, through the child-process host, as a playbook does.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.models.artifact import Artifact

QUESTIONS = ("What is 2+2?", "What is 15-7?", "def add(a, b):", "Größe, naïve café, 你好世界", "hello")
LIMIT_S = 120.0
CLIENTS = 50
TOKENS = 12
LONG_TOKENS = 400
RECITED = "Ä你🙂"  # of two, three and four bytes, none of which comes twice; no byte has a token with another
RECITED_TOKENS = 9
HALF_A_CHARACTER = "\N{REPLACEMENT CHARACTER}"
ABANDONED = 12
PATIENCE_S = 0.5  # of a client that leaves
SLACK_S = 1.0


class EngineContract:
    """The contract. `known` maps the name of a test to the reason why this engine is known not to pass it."""

    engine: ClassVar[str] = ""  # short name or module:Class, with options after a question mark
    format: ClassVar[str] = "gguf"
    dtype: ClassVar[str] = "f32"
    tells_prompt_ids: ClassVar[bool] = True
    tells_new_ids: ClassVar[bool] = True
    tells_logits: ClassVar[bool] = True
    known: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """CollectError where the tests of the contract would prove nothing."""
        super().__init_subclass__(**arguments)
        if not _assertions_are_code():
            raise pytest.Collector.CollectError(
                f"{cls.__module__}.{cls.__qualname__}: the assertions of the contract are left out by python -O"
                " (PYTHONOPTIMIZE), every test would pass; run it without, or without --assert=plain"
            )

    # -- what the tests stand on: override to give another model or another way to reach the engine --------------------

    @classmethod
    def source_folder(cls, scratch: Path) -> Path:
        """The SafeTensors model that the artifact is made of; `scratch` is an empty folder."""
        from pytest_aprqa.models.bundled import bundled_folder

        return bundled_folder() / "models" / "tiny-qwen2"

    @pytest.fixture(scope="class")
    @classmethod
    def contract_artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
        """The artifact in the format of the class."""
        scratch = tmp_path_factory.mktemp("contract")
        return cls._in_its_format(cls.source_folder(scratch), scratch / "cache")

    @pytest.fixture(scope="class")
    @classmethod
    def reciting_artifact(cls, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
        """A model that says RECITED and stops, in the format of the class."""
        from pytest_aprqa.models.artifact import describe_artifact, open_artifact
        from pytest_aprqa.random_models.reciting import reciting_model

        scratch = tmp_path_factory.mktemp("reciting")
        source = cls.source_folder(scratch)
        with open_artifact(describe_artifact(source, "safetensors")) as opened:
            ids = opened.tokenizer.encode(RECITED, add_special=False)
            text = [*ids, max(opened.tokenizer.end_ids)]
        return cls._in_its_format(reciting_model(source, scratch / "model", text), scratch / "cache")

    @classmethod
    def _in_its_format(cls, folder: Path, cache: Path) -> Artifact:
        from pytest_aprqa.lifecycle.derive import derive
        from pytest_aprqa.models.artifact import describe_artifact

        if cls.format == "safetensors":
            return describe_artifact(folder, "safetensors")
        return derive(folder, cls.format, cache=cache, dtype=cls.dtype)

    @classmethod
    @contextlib.contextmanager
    def engine_over(cls, artifact: Artifact) -> Iterator[str]:
        """What EngineHost starts to run an artifact: of an engine by address the server is started here."""
        yield cls.engine

    @pytest.fixture(scope="class")
    @classmethod
    def engine_name(cls, contract_artifact: Artifact) -> Iterator[str]:
        """What EngineHost starts."""
        with cls.engine_over(contract_artifact) as name:
            yield name

    @pytest.fixture(scope="class")
    @classmethod
    def host(cls, engine_name: str, contract_artifact: Artifact) -> Iterator[EngineHost]:
        """The engine with the artifact in it."""
        from pytest_aprqa.engines.host import EngineHost

        with EngineHost(engine_name, threads=2) as host:
            host.load(contract_artifact, LIMIT_S)
            yield host

    @pytest.fixture(scope="class")
    @classmethod
    def expected(cls, contract_artifact: Artifact) -> list[GenerationResult]:
        """The same prompts on torch, float32, from the same file."""
        from pytest_aprqa.engines.host import EngineHost

        with EngineHost("torch", threads=2) as host:
            host.load(contract_artifact, LIMIT_S)
            return host.generate(_requests(), LIMIT_S)

    @pytest.fixture(autouse=True)
    def _known_failures(self, request: pytest.FixtureRequest) -> None:
        name = getattr(request.node, "originalname", request.node.name)
        if name in self.known:
            request.applymarker(pytest.mark.xfail(reason=self.known[name], strict=True))

    # -- answers -------------------------------------------------------------------------------------------------------

    def test_it_says_what_it_is(self, host: EngineHost) -> None:
        """Name, version, backend and a list of details that can be put into evidence."""
        description = host.describe()
        assert description.name
        assert description.version
        assert description.backend in ("cpu", "gpu")
        assert isinstance(description.details, dict)

    def test_same_file_gives_the_ids_of_torch(self, host: EngineHost, expected: list[GenerationResult]) -> None:
        """Greedy, raw: prompt ids, new ids and text of each prompt, in the order of the requests."""
        results = host.generate(_requests(), LIMIT_S)
        assert [result.key for result in results] == [result.key for result in expected]
        for result, right in zip(results, expected, strict=True):
            assert result.error is None
            if self.tells_prompt_ids:
                assert result.prompt_ids == right.prompt_ids
            assert result.prompt_length == right.prompt_length
            if self.tells_new_ids:
                assert result.new_ids == right.new_ids
            assert result.text == right.text

    def test_greedy_and_seeded_answers_repeat(self, host: EngineHost) -> None:
        """The same request gives the same answer; with a temperature, the same seed does."""
        for temperature in (0.0, 0.9):
            requests = _requests(QUESTIONS[:2], temperature=temperature, seed=7)
            first, second = ([_said(r) for r in host.generate(requests, LIMIT_S)] for _ in range(2))
            assert first == second

    def test_length_limit_is_kept(self, host: EngineHost, expected: list[GenerationResult]) -> None:
        """Never more new tokens than asked for; an answer that the limit cut says so."""
        for limit in (1, 2):
            (result,) = host.generate(_requests(QUESTIONS[3:4], tokens=limit), LIMIT_S)
            assert result.error is None
            assert result.finish_reason in ("length", "none")
            if result.new_ids is not None:
                assert len(result.new_ids) == limit
                assert result.new_ids == (expected[3].new_ids or [])[:limit]

    def test_it_stops_at_the_end_token(self, host: EngineHost, contract_artifact: Artifact) -> None:
        """An answer that ends by itself is shorter than the limit, says so and does not show the end token."""
        from pytest_aprqa.models.artifact import open_artifact

        with open_artifact(contract_artifact) as opened:
            ends = [opened.tokenizer.tokens[i] for i in opened.tokenizer.end_ids]
        (result,) = host.generate(_requests(QUESTIONS[:1], tokens=200), LIMIT_S)
        assert result.error is None
        assert result.finish_reason == "stop"
        assert not any(end in result.text for end in ends)
        assert result.new_ids is None or len(result.new_ids) < 200

    def test_characters_of_several_tokens_are_whole(self, reciting_artifact: Artifact) -> None:
        """Each character of the answer takes two to four tokens; cut between them, no other text comes out."""
        from pytest_aprqa.engines.host import EngineHost

        with self.engine_over(reciting_artifact) as name, EngineHost(name, threads=2) as host:
            host.load(reciting_artifact, LIMIT_S)
            for tokens in (*range(1, RECITED_TOKENS), TOKENS):
                (result,) = host.generate(_requests(["hello"], tokens=tokens), LIMIT_S)
                if tokens > 2:  # less is half a character: no text is an answer, and one engine calls it none
                    assert result.error is None
                assert RECITED.startswith(result.text.rstrip(HALF_A_CHARACTER)), (tokens, result.text)
            assert (result.text, result.finish_reason) == (RECITED, "stop")
            with _client(host) as client:
                assert _asked(client, "hello") == RECITED
                body = {"prompt": "hello", "max_tokens": TOKENS, "temperature": 0} | _model(client)
                pieces = _pieces(client, body)
                assert "".join(pieces) == RECITED
                assert not any(HALF_A_CHARACTER in piece for piece in pieces)

    # -- refusals ------------------------------------------------------------------------------------------------------

    def test_empty_prompt_is_answered_or_refused(self, host: EngineHost) -> None:
        """No crash, no hang; a refusal is one line and the next prompt is answered."""
        self._refused_or_answered(host, _requests([""])[0])

    def test_prompt_longer_than_the_context_is_refused(self, host: EngineHost) -> None:
        """The refusal is one line and the next prompt is answered."""
        result = self._refused_or_answered(host, _requests(["hello " * 3000])[0])
        assert result.error

    @pytest.mark.parametrize("tokens", [0, -1])
    def test_bad_limits_are_refused(self, host: EngineHost, tokens: int) -> None:
        """Less than one new token is refused with the value."""
        (result,) = host.generate(_requests(QUESTIONS[:1], tokens=tokens), LIMIT_S)
        assert result.error
        assert str(tokens) in result.error

    @pytest.mark.parametrize(
        "changes",
        [{"temperature": -0.1}, {"temperature": float("nan")}, {"mode": "shout"}, {"seed": -1}, {"prompt": "a\ud800"}],
        ids=["negative-temperature", "no-temperature", "mode", "seed", "half-a-character"],
    )
    def test_bad_arguments_are_refused(self, host: EngineHost, changes: dict[str, Any]) -> None:
        """One line that names the argument; the engine goes on."""
        request = dataclasses.replace(_requests(QUESTIONS[:1])[0], **changes)
        result = self._refused_or_answered(host, request)
        assert result.error
        assert next(iter(changes)) in result.error
        assert result.text == ""

    def test_refusal_of_one_prompt_leaves_the_others_alone(self, host: EngineHost) -> None:
        """Results in order, the error where it belongs."""
        good, bad, again = host.generate(
            [*_requests(QUESTIONS[:1]), *_requests(["x"], tokens=0), *_requests(QUESTIONS[:1])], LIMIT_S
        )
        assert bad.error
        assert good.error is None
        assert _said(good) == _said(again)

    def _refused_or_answered(self, host: EngineHost, request: Any) -> GenerationResult:
        (result,) = host.generate([request], LIMIT_S)
        if result.error is not None:
            assert result.error.strip()
            assert "\n" not in result.error
            assert "Traceback" not in result.error
        (after,) = host.generate(_requests(QUESTIONS[:1]), LIMIT_S)
        assert after.error is None
        return result

    # -- numbers -------------------------------------------------------------------------------------------------------

    def test_logits_are_those_that_the_greedy_answer_takes(
        self, host: EngineHost, expected: list[GenerationResult]
    ) -> None:
        """float32 (ids, vocabulary), finite, teacher-forced: the largest of each row is the next new id."""
        import numpy

        if not self.tells_logits:
            pytest.skip("the engine tells no logits")
        right = expected[0]
        prompt, new = right.prompt_ids or [], right.new_ids or []
        logits = host.logits([*prompt, *new], LIMIT_S)
        assert logits.dtype == numpy.float32
        assert logits.shape[0] == len(prompt) + len(new)
        assert numpy.isfinite(logits).all()
        assert logits[len(prompt) - 1 : -1].argmax(axis=1).tolist() == new

    # -- serving -------------------------------------------------------------------------------------------------------

    def test_stream_assembles_to_the_whole_text(self, host: EngineHost) -> None:
        """Greedy and sampled."""
        for prompt, temperature in ((QUESTIONS[0], 0.0), (QUESTIONS[3], 1.8)):
            body = {"prompt": prompt, "max_tokens": 24, "temperature": temperature, "seed": 3}
            with _client(host) as client:
                whole = client.post("/v1/completions", json=body | _model(client)).json()["choices"][0]["text"]
                assert _streamed(client, body | _model(client)) == whole

    def test_concurrent_clients_get_the_answers_that_each_alone_gets(self, host: EngineHost) -> None:
        """CLIENTS requests at once, over HTTP."""
        with _client(host) as client:
            alone = {p: _asked(client, p) for p in QUESTIONS}
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                prompts = [QUESTIONS[n % len(QUESTIONS)] for n in range(CLIENTS)]
                together = list(pool.map(lambda p: _asked(client, p), prompts))
        assert together == [alone[p] for p in prompts]

    def test_client_that_goes_away_frees_its_slot(self, host: EngineHost) -> None:
        """ABANDONED long streams at once, whose clients leave: the next one waits for none of them to end."""
        with _client(host) as client:
            body = {"prompt": QUESTIONS[2], "max_tokens": LONG_TOKENS, "temperature": 1.5, "seed": 1, "stream": True}
            body |= _model(client)
            started = time.monotonic()
            assert client.post("/v1/completions", json=body).status_code == 200
            whole = time.monotonic() - started
            with concurrent.futures.ThreadPoolExecutor(ABANDONED) as pool:
                list(pool.map(lambda _: _abandon(client, body), range(ABANDONED)))
            started = time.monotonic()
            assert _asked(client, QUESTIONS[0])
            waited = time.monotonic() - started
            assert waited < whole / 2 + SLACK_S, (waited, whole)

    def test_bad_requests_are_refused_with_4xx_and_json(self, host: EngineHost) -> None:
        """And the server lives on."""
        with _client(host) as client:
            model = _model(client)
            answers = [
                client.post("/v1/completions", content=b"{", headers={"content-type": "application/json"}),
                client.post("/v1/completions", json=model | {"max_tokens": 4}),
                client.post("/v1/completions", json=model | {"prompt": "x", "max_tokens": "many"}),
                client.post("/v1/chat/completions", json=model | {"messages": "none"}),
                client.get("/v1/nothing"),
            ]
            assert [400 <= answer.status_code < 500 for answer in answers] == [True] * len(answers)
            assert all(isinstance(answer.json(), dict) for answer in answers)
            assert _asked(client, QUESTIONS[0])

    # -- life ----------------------------------------------------------------------------------------------------------

    def test_file_that_is_none_is_a_load_error(self, engine_name: str, tmp_path: Path) -> None:
        """One line, and the process goes on."""
        from pytest_aprqa.engines.errors import EngineLoadError
        from pytest_aprqa.engines.host import EngineHost
        from pytest_aprqa.models.artifact import Artifact

        path = tmp_path / f"model.{self.format}"
        path.write_bytes(b"this is no model" * 100)
        with EngineHost(engine_name, threads=1) as host:
            for _ in range(2):
                with pytest.raises(EngineLoadError) as caught:
                    host.load(Artifact(self.format, path, "published", "0" * 64), LIMIT_S)
                assert "\n" not in str(caught.value)


def _assertions_are_code() -> bool:
    """False under `python -O`, unless pytest rewrote this module."""
    try:
        assert not LIMIT_S, "not zero: always raised, where it is code"
    except AssertionError:
        return True
    return False


def _requests(prompts: Any = QUESTIONS, *, tokens: int = TOKENS, temperature: float = 0.0, seed: int = 0) -> list[Any]:
    from pytest_aprqa.engines.protocol import GenerationRequest

    return [
        GenerationRequest(f"k{n}", prompt, max_new_tokens=tokens, temperature=temperature, seed=seed)
        for n, prompt in enumerate(prompts)
    ]


def _said(result: GenerationResult) -> tuple[Any, ...]:
    return (result.text, result.new_ids, result.finish_reason, result.error)


def _client(host: EngineHost) -> Any:
    import httpx

    limits = httpx.Limits(max_connections=CLIENTS)
    return httpx.Client(base_url=host.serve(LIMIT_S), timeout=LIMIT_S, limits=limits)


def _model(client: Any) -> dict[str, Any]:
    from pytest_aprqa.served_answers import served_model

    name = served_model(client)
    return {"model": name} if name else {}


def _asked(client: Any, prompt: str) -> str:
    body = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0} | _model(client)
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text[:200]
    return str(answer.json()["choices"][0]["text"])


def _abandon(client: Any, body: dict[str, Any]) -> None:
    """Ask for a stream and leave after its first line, or when none comes soon."""
    import httpx

    patience = httpx.Timeout(LIMIT_S, read=PATIENCE_S)
    with (
        contextlib.suppress(httpx.ReadTimeout),
        client.stream("POST", "/v1/completions", json=body, timeout=patience) as response,
    ):
        next(response.iter_lines(), None)


def _streamed(client: Any, body: dict[str, Any]) -> str:
    return "".join(_pieces(client, body))


def _pieces(client: Any, body: dict[str, Any]) -> list[str]:
    from pytest_aprqa.served_answers import stream_chunks

    chunks = stream_chunks(client, "/v1/completions", body | {"stream": True})
    return [choice.get("text") or "" for chunk in chunks for choice in chunk.get("choices", [])]
