"""The OpenAI server of llama-cpp-python over a GGUF file, in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpcore  # noqa: F401 - httpx imports it at first use: inside a run of `pytester`, which forgets modules
import httpx
import pytest

START_LIMIT_S = 300.0
CONTEXT = 512


@contextlib.contextmanager
def their_server(path: Path) -> Iterator[str]:
    """Its base URL; ended afterwards. Skips where the server's packages are not installed."""
    pytest.importorskip("fastapi", reason="the server of llama-cpp-python is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--model", str(path), "--port", str(port), "--n_ctx", str(CONTEXT), "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "llama_cpp.server", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url)
        yield url
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(f"{url}/v1/models", timeout=2)
            return
        assert process.poll() is None, "the server did not start"
        time.sleep(0.2)
    pytest.fail(f"the server did not answer within {START_LIMIT_S:.0f} s")
