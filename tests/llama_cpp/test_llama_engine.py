"""llama.cpp as an engine: the contract, tokens and numbers of torch, refusals in its own words, its server by URL."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import numpy
import pytest

from pytest_aprqa.engine_contract import LIMIT_S, EngineContract
from pytest_aprqa.engines.errors import EngineError, EngineLoadError
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact, open_artifact
from tests.llama_cpp.their_server import their_server

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install pytest-aprqa[llama]")
pytestmark = pytest.mark.llama
ENGINE = "llama?backend=cpu"
PROMPTS = ["What is 2+2?", "def fibonacci(n):\n    return", "I'm fine, café 12345", " leading space", "a   b", "你好"]


class TestLlamaContract(EngineContract):
    engine = ENGINE


@pytest.fixture(scope="session")
def gguf(
    random_qwen2_folder: Path, random_llama_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Artifact]:
    cache = tmp_path_factory.mktemp("llama-cpp")
    folders = {"qwen2": random_qwen2_folder, "llama": random_llama_folder}
    return lambda name: derive(folders[name], "gguf", cache=cache, dtype="f32")


@pytest.fixture
def load() -> Iterator[Callable[..., EngineHost]]:
    hosts: list[EngineHost] = []

    def start(artifact: Artifact, engine: str = ENGINE) -> EngineHost:
        hosts.append(EngineHost(engine, threads=2))
        hosts[-1].load(artifact, LIMIT_S)
        return hosts[-1]

    yield start
    for host in hosts:
        host.close()


def test_rows_from_a_position_on_are_those_of_the_whole(gguf: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they begin in a later batch, at its beginning and at its end."""
    from pytest_aprqa.engines import llama_engine, llama_model

    monkeypatch.setattr(llama_model, "BATCH", 50)
    engine, ids = llama_engine.LlamaEngine(threads=2), [3 + number % 90 for number in range(120)]
    try:
        engine.load(gguf("llama"), lambda *event: None)
        whole = engine.logits(ids)
        for first in (1, 30, 49, 50, 51, 100, 119):
            rest = engine.logits(ids, first=first)
            assert rest.shape == (120 - first, whole.shape[1])
            numpy.testing.assert_allclose(rest, whole[first:], rtol=1e-4, atol=1e-4)
        for first in (0, 1, 49):  # of one batch: the library's own memory
            in_place = engine.logits(ids[:50], first=first, lasting=False).copy()
            assert numpy.array_equal(in_place, engine.logits(ids[:50], first=first))
    finally:
        engine.close()


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("mode", ["raw", "chat"])
def test_random_models_give_the_ids_of_torch(load: Callable, gguf: Callable, family: str, mode: str) -> None:
    requests = [GenerationRequest(str(n), prompt, mode, max_new_tokens=8) for n, prompt in enumerate(PROMPTS)]
    theirs, ours = (load(gguf(family), engine).generate(requests, LIMIT_S) for engine in (ENGINE, "torch"))
    for one, other in zip(theirs, ours, strict=True):
        assert (one.prompt_ids, one.new_ids, one.text) == (other.prompt_ids, other.new_ids, other.text)


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_logits_are_close_to_those_of_torch(load: Callable, gguf: Callable, family: str) -> None:
    """Mean divergence of the next-token distributions in nats; the cache of keys and values is 16-bit in llama.cpp."""
    ids = list(range(1, 301))
    theirs, ours = (load(gguf(family), engine).logits(ids, LIMIT_S) for engine in (ENGINE, "torch"))
    assert theirs.shape == ours.shape
    p, q = (_log_softmax(logits) for logits in (ours, theirs))
    assert float((numpy.exp(p) * (p - q)).sum(axis=1).mean()) < 1e-3
    assert (p.argmax(axis=1) == q.argmax(axis=1)).mean() > 0.98


def _log_softmax(logits: numpy.ndarray) -> numpy.ndarray:
    wide = logits.astype(numpy.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return wide - numpy.log(numpy.exp(wide).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_its_tokenizer_cuts_as_the_file_declares(load: Callable, gguf: Callable, family: str) -> None:
    texts = [*PROMPTS, "", "\n\n  \t", "<|im_end|>", "x" * 3000, "e\u0301 \u200d \U0001f600"]
    with open_artifact(gguf(family)) as opened:
        expected = [opened.tokenizer.encode(text) for text in texts]
    assert load(gguf(family)).encode(texts, LIMIT_S) == expected


def test_context_grows_to_what_the_file_declares(load: Callable, random_llama_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "long"
    shutil.copytree(random_llama_folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 6000}), encoding="utf-8")
    host = load(derive(folder, "gguf", cache=tmp_path / "cache", dtype="f32"))
    short, long, longer = host.generate(
        [GenerationRequest(str(n), "a" * n, max_new_tokens=2) for n in (10, 4000, 7000)], LIMIT_S
    )
    assert short.error is None
    assert long.error is None
    assert long.prompt_length == 4001
    assert longer.error == "the prompt has 7001 tokens, the context holds 6000"
    with pytest.raises(EngineError, match="logits: 6001 ids, limit 1 to 6000"):
        host.logits([1] * 6001, LIMIT_S)
    with pytest.raises(EngineError, match="limit 0 to"):
        host.logits([10**6], LIMIT_S)


def test_file_without_template_refuses_chat(load: Callable, random_llama_folder: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "bare"
    shutil.copytree(random_llama_folder, folder)
    fields = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    fields.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(fields), encoding="utf-8")
    host = load(derive(folder, "gguf", cache=tmp_path / "cache"))
    (result,) = host.generate([GenerationRequest("c", "hello", "chat")], LIMIT_S)
    assert result.error == "chat: the artifact declares no chat template"


def test_damaged_files_are_load_errors_in_its_own_words(gguf: Callable, tmp_path: Path) -> None:
    data = gguf("llama").path.read_bytes()
    with EngineHost(ENGINE, threads=1) as host:
        for name, bad in {"half": data[: len(data) // 2], "empty": b"", "magic": b"XXXX" + data[4:]}.items():
            path = tmp_path / f"{name}.gguf"
            path.write_bytes(bad)
            with pytest.raises(EngineLoadError, match=r"llama\.cpp cannot load the file: .+"):
                host.load(Artifact("gguf", path, "published", "0" * 64), LIMIT_S)


class TestServerOfLlamaCppPython(EngineContract):
    """Its OpenAI server, asked by address. It tells no ids, and punishes repetition unless told not to."""

    tells_logits = False
    tells_prompt_ids = False
    tells_new_ids = False
    known: ClassVar[dict[str, str]] = {
        "test_file_that_is_none_is_a_load_error": "a server's file is its own affair: nothing is loaded",
        "test_bad_requests_are_refused_with_4xx_and_json": "a request without a prompt breaks the connection",
    }

    @classmethod
    @contextlib.contextmanager
    def engine_over(cls, artifact: Any) -> Iterator[str]:
        with their_server(artifact.path) as url:
            yield "url?" + urlencode({"url": url})
