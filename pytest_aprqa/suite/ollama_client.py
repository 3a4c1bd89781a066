"""The few routes of an Ollama server that its parity checks need, over plain HTTP; replies are judged, not believed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

ADDRESS, DEFAULT_ADDRESS = "OLLAMA_HOST", "127.0.0.1:11434"
PROBE_S = 2.0
NANOSECONDS = 1e9
COUNTS = ("eval_count", "eval_duration", "load_duration", "total_duration")
# Of Go's network errors, as the server repeats them when it cannot reach its registry.
_NO_NETWORK = (
    "dial tcp",
    "no such host",
    "network is unreachable",
    "i/o timeout",
    "connection refused",
    "TLS handshake",
)


class OllamaError(RuntimeError):
    """The server answered something else than it must."""


class OllamaUnavailable(OllamaError):
    """No Ollama server is reachable."""


@dataclass(frozen=True, slots=True)
class OllamaAnswer:
    """Text, number of new tokens, seconds spent on them, and seconds of the request without loading the model."""

    text: str
    tokens: int
    decode_seconds: float
    seconds: float

    @property
    def speed(self) -> float | None:
        """New tokens a second; None where the server does not tell."""
        return self.tokens / self.decode_seconds if self.decode_seconds > 0 and self.tokens else None


class OllamaClient:
    """A server at OLLAMA_HOST, else at 127.0.0.1:11434. OllamaUnavailable says what to start."""

    def __init__(self, timeout_s: float) -> None:
        import httpx

        self.url = _url(os.environ.get(ADDRESS) or DEFAULT_ADDRESS)
        self.stored_types: dict[str, str] = {}
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, verify=self.url.startswith("https:"))
        self._failures = httpx.HTTPError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def tags(self) -> list[str]:
        """Names of the models that the server has; `stored_types` has their types where the server tells them.

        OllamaUnavailable where nobody answers.
        """
        import httpx

        try:
            answer = self._http.get("/api/tags", timeout=PROBE_S)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise OllamaUnavailable(
                f"no ollama server at {self.url}: {error}; start `ollama serve` or set {ADDRESS}"
            ) from None
        except httpx.HTTPError as error:
            raise OllamaError(f"GET /api/tags: {type(error).__name__}: {str(error)[:100]}") from None
        models = _object(answer).get("models")
        if not isinstance(models, list) or not all(
            isinstance(m, dict) and isinstance(m.get("name"), str) for m in models
        ):
            raise OllamaError(f"GET /api/tags: no list of models: {answer.text[:100]}")
        for model in models:
            details = model.get("details")
            if isinstance(details, dict) and isinstance(level := details.get("quantization_level"), str) and level:
                self.stored_types[model["name"]] = level.lower()
        return [str(model["name"]) for model in models]

    def pull(self, model: str) -> None:
        """Have the server fetch a model. OllamaUnavailable: it reaches no registry; OllamaError: no such model."""
        answer = self._asked("POST", "/api/pull", json={"model": model, "stream": False})
        try:
            told = answer.json()
        except ValueError:
            told = None
        status = told.get("status") if isinstance(told, dict) else None
        if answer.status_code == 200 and status == "success":
            return
        error = str(told.get("error") if isinstance(told, dict) else answer.text)[:200]
        kind = OllamaUnavailable if any(word in error for word in _NO_NETWORK) else OllamaError
        raise kind(f"POST /api/pull: {model}: status {answer.status_code}: {error}")

    def generate(self, model: str, prompt: str, *, temperature: float, tokens: int, raw: bool) -> OllamaAnswer:
        """One whole answer. `raw`: the prompt is shown to the model as it is, without the server's template.

        What a model thinks before it answers is told apart by newer servers, and is part of the text here.
        """
        options = {"temperature": temperature, "num_predict": tokens, "seed": 0, "repeat_penalty": 1.0}
        body = {"model": model, "prompt": prompt, "stream": False, "raw": raw, "options": options}
        data = _object(self._asked("POST", "/api/generate", json=body))
        if not isinstance(data.get("response"), str) or not isinstance(data.get("thinking") or "", str):
            raise OllamaError(f"POST /api/generate: no response in {str(data)[:100]}")
        if data.get("done") is not True:
            raise OllamaError(f"POST /api/generate: the answer is not done: {str(data)[:100]}")
        # Counts and times that are 0 are left out.
        numbers = {name: data.get(name, 0) for name in COUNTS}
        if not all(type(value) in (int, float) and value >= 0 for value in numbers.values()):
            raise OllamaError(f"POST /api/generate: times and counts must be numbers: {numbers}")
        whole = max(numbers["total_duration"] - numbers["load_duration"], 0) / NANOSECONDS
        text = str(data.get("thinking") or "") + data["response"]
        return OllamaAnswer(text, int(numbers["eval_count"]), numbers["eval_duration"] / NANOSECONDS, whole)

    def create(self, name: str, path: Path) -> None:
        """Make a model of a GGUF file: its bytes under their digest, then a model of them. OllamaError."""
        with path.open("rb") as stream:
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
            stream.seek(0)
            sent = self._asked("POST", f"/api/blobs/{digest}", content=iter(_pieces(stream.read)))
        if sent.status_code not in (200, 201):
            raise OllamaError(f"POST /api/blobs: status {sent.status_code}: {sent.text[:100]}")
        body = {"model": name, "files": {path.name: digest}, "stream": False}
        answer = _object(self._asked("POST", "/api/create", json=body))
        if answer.get("status") != "success":
            raise OllamaError(f"POST /api/create: {str(answer)[:100]}")

    def delete(self, name: str) -> None:
        """Remove a model that `create` made; one that is not there is no error."""
        self._asked("DELETE", "/api/delete", json={"model": name})

    def _asked(self, method: str, path: str, **content: Any) -> Any:
        """The answer, of whatever status. OllamaError: the server went away or took too long."""
        try:
            return self._http.request(method, path, **content)
        except self._failures as error:
            shown = path.partition(":")[0]
            raise OllamaError(f"{method} {shown}: {type(error).__name__}: {str(error)[:100]}") from None


def full_name(model: str) -> str:
    """A model's name as the server lists it: without a tag it is `latest`."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"


def _pieces(read: Callable[[int], bytes], size: int = 1 << 20) -> Any:
    while piece := read(size):
        yield piece


def _url(address: str) -> str:
    """`HOST`, `HOST:PORT` or a whole address; the port is Ollama's own where none is given."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1"}.get(parts.hostname or "", parts.hostname)  # noqa: S104
    default = 443 if parts.scheme == "https" else 11434
    return f"{parts.scheme}://{host}:{parts.port or default}"


def _object(answer: Any) -> dict[str, Any]:
    path = answer.request.url.path
    if answer.status_code != 200:
        raise OllamaError(f"{answer.request.method} {path}: status {answer.status_code}: {answer.text[:100]}")
    try:
        data = answer.json()
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise OllamaError(f"{answer.request.method} {path}: not a JSON object: {answer.text[:100]}")
    return data
