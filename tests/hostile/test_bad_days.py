"""What is no file to be read but may happen to one, to an engine or to a server: each ends in one line, in time."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from pytest_aprqa.engines.errors import EngineError, EngineTimeout
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.url_engine import UrlEngine
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from tests.engines.misbehaving_engines import GUILTY, GpuIsFull
from tests.formats.raw_files import good_safetensors

ARTIFACT = Artifact("gguf", Path("somewhere"), "published", "0" * 64)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\nconnection: close\r\n"
LISTED = b'{"data": [{"id": "m"}], "choices": [{"text": "four", "finish_reason": "stop"}]}'


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def answering(server: socket.socket, stream: list[bytes]) -> None:
    """Answer every request; one for a stream gets these pieces, each sent on its own."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(1 << 16)
                while b"content-length" in request.lower() and not request.rstrip().endswith(b"}"):
                    request += connection.recv(1 << 16)
                if b'"stream":true' in request.replace(b" ", b""):
                    connection.sendall(HEAD % b"text/event-stream" + b"\r\n")
                    for piece in stream:
                        connection.sendall(piece)
                        time.sleep(0.05)
                else:
                    connection.sendall(
                        HEAD % b"application/json" + b"content-length: %d\r\n\r\n" % len(LISTED) + LISTED
                    )

    threading.Thread(target=serve, daemon=True).start()


def test_a_file_that_changes_has_another_digest(tmp_path: Path) -> None:
    """Number 45: what was digested before is not what lies there now, though its size is the same."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(good_safetensors())
    before = describe_artifact(path, "safetensors")
    assert describe_artifact(path, "safetensors").sha256 == before.sha256
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert describe_artifact(path, "safetensors").sha256 != before.sha256


def test_a_full_gpu_is_one_line_and_the_engine_lives() -> None:
    """Number 48."""
    with EngineHost(f"{GpuIsFull.__module__}:GpuIsFull") as host:
        host.load(ARTIFACT, 30)
        with pytest.raises(EngineError) as refusal:
            host.generate([GenerationRequest("a", GUILTY)], 30)
        assert str(refusal.value).startswith("OutOfMemoryError: CUDA out of memory.")
        assert len(str(refusal.value).splitlines()) == 1
        assert host.generate([GenerationRequest("b", "Hi")], 30)[0].text == "fine"


def test_a_server_that_is_never_ready_ends_with_the_limit(listening: socket.socket) -> None:
    """Number 51: the port is open, nobody answers."""
    started = time.monotonic()
    with EngineHost(f"url?{urlencode({'url': address(listening)})}") as host:
        host.start()
        with pytest.raises(EngineTimeout):
            host.load(ARTIFACT, 1.0)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("cut", "text"), [(b"caf\xc3|\xa9", "café"), (b"\xf0\x9f|\x98\x80!", "😀!"), (b"a\xff|b", "a\ufffdb")]
)
def test_a_character_cut_between_two_pieces_of_a_stream_is_whole(
    cut: bytes, text: str, listening: socket.socket
) -> None:
    """Number 53; a byte that is no UTF-8 at all is shown as such and breaks nothing."""
    first, second = cut.split(b"|")
    head = b'data: {"choices": [{"text": "'
    tail = b'", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
    answering(listening, [head + first, second + tail])
    engine = UrlEngine(address(listening))
    try:
        engine.load(ARTIFACT, lambda *event: None)
        pieces: list[str] = []
        request = GenerationRequest("a", "Hi")
        (result,) = engine.generate([request], lambda *event: None, lambda piece, ids: pieces.append(piece))
    finally:
        engine.close()
    assert (result.error, result.text) == (None, text)
    assert "".join(pieces) == text
