"""A server on 127.0.0.1 that answers as a test says: the base of the handlers, and how one is started and ended."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class StandIn(BaseHTTPRequestHandler):
    """What every stand-in needs beside its `do_GET` and `do_POST`; the log of requests is silent."""

    def body(self) -> bytes:
        """Bytes of the request, sent whole or in chunks."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def answer(self, status: int, data: bytes, **headers: str) -> None:
        """Send a whole answer."""
        self.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def answer_json(self, value: Any, status: int = 200) -> None:
        """Send VALUE as JSON; None is an answer without a body."""
        self.answer(status, b"" if value is None else json.dumps(value).encode())

    def log_message(self, *arguments: object) -> None:
        """Nothing on standard error."""


class StandInServer(ThreadingHTTPServer):
    """The server; what a test wants to tell its handlers are attributes of it."""

    @property
    def place(self) -> str:
        """`127.0.0.1:PORT`."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://{self.place}"


@contextlib.contextmanager
def serving(handler: type[StandIn], **state: Any) -> Iterator[Any]:
    """A StandInServer on a free port with STATE as its attributes, until the block ends."""
    with StandInServer(("127.0.0.1", 0), handler) as server:
        vars(server).update(state)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
