"""Engines for what goes wrong on the parent's side: interruptions, deaths of parents, forks. No torch in here."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from pytest_aprqa.engines.errors import EngineUnavailable
from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult
from pytest_aprqa.models.artifact import Artifact
from tests.engines.misbehaving_engines import Behaves, result_of


class NamesItsRequest(Behaves):
    """The text is the key of the request, after half a second where the prompt is "slow"."""

    def is_guilty(self, request: GenerationRequest) -> bool:
        return request.prompt == "slow"

    def misbehave(self) -> None:
        time.sleep(0.5)

    def answer(self, request: GenerationRequest) -> GenerationResult:
        return result_of(request, request.key)

    def logits(self, ids: Sequence[int]) -> Any:
        import numpy

        time.sleep(0.2)
        return numpy.full((len(ids), 1 << 20), ids[0], dtype=numpy.float32)


class HoldsTheInterpreter(Behaves):
    """A regular expression that backtracks for years, in C, with the interpreter's lock: no other thread runs."""

    def misbehave(self) -> None:
        print("holding", file=sys.stderr, flush=True)
        re.match(r"(a+)+$", "a" * 80 + "b")


class HasNoDevice(Behaves):
    def load(self, artifact: Artifact, progress: Any) -> EngineDescription:
        raise EngineUnavailable("no GPU: the driver is too old")
