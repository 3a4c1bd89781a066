"""The engines that need nothing but the package keep the contract: torch, and a server of ours by its address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

from pytest_aprqa.engine_contract import LIMIT_S, EngineContract
from pytest_aprqa.engines.host import EngineHost


class TestTorch(EngineContract):
    engine = "torch"
    format = "safetensors"


class TestServerOfOurs(EngineContract):
    format = "gguf"
    tells_logits = False
    known: ClassVar[dict[str, str]] = {
        "test_file_that_is_none_is_a_load_error": "a server's file is its own affair: nothing is loaded"
    }

    @classmethod
    @contextlib.contextmanager
    def engine_over(cls, artifact: Any) -> Iterator[str]:
        with EngineHost("torch", threads=2) as host:
            host.load(artifact, LIMIT_S)
            yield "url?" + urlencode({"url": host.serve(LIMIT_S)})
