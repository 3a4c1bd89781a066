"""The engines that need nothing but the package keep the contract: torch, and a server of ours by its address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from pytest_aprqa.engine_contract import LIMIT_S, EngineContract
from pytest_aprqa.engines.host import EngineHost

PLAIN = "--assert=plain"


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


@pytest.mark.parametrize(
    ("optimize", "plain", "code"),
    [("", [], 0), ("", [PLAIN], 0), ("1", [], 0), ("1", [PLAIN], 2), ("2", [PLAIN], 2)],
)
def test_the_contract_is_not_kept_because_python_leaves_assertions_out(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, optimize: str, plain: list[str], code: int
) -> None:
    monkeypatch.setenv("PYTHONOPTIMIZE", optimize)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makepyfile(
        "from pytest_aprqa.engine_contract import EngineContract\n"
        "class TestMine(EngineContract):\n    engine = 'my_package:Engine'\n"
    )
    result = pytester.runpytest_subprocess("--collect-only", "-q", *plain)
    assert result.ret == code
    told = result.stdout.str()
    assert ("every test would pass" in told) is (code != 0)
    assert "Traceback" not in told + result.stderr.str()
