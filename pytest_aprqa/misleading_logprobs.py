"""The torch engine with log-probabilities that are not those of its logits: what `--falsify` holds the checks against.

Text and ids are right; only what is told of their probabilities is wrong.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

from pytest_aprqa.engines.protocol import (
    EngineDescription,
    GenerationRequest,
    GenerationResult,
    Progress,
    TokenChoice,
    TokenLogprob,
    TokenSink,
)
from pytest_aprqa.models.artifact import Artifact

NOISE = 0.1  # of another model's weights, as a share of their spread


def misleading_engine(threads: int | None = None, backend: str = "cpu", fault: str = "") -> Any:
    """The engine with one of the faults that `misbehaving_engine` names."""
    from pytest_aprqa.engines.torch_engine import TorchEngine

    class MisleadingEngine(TorchEngine):
        _other: TorchEngine | None = None

        def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
            if fault == "logprobs_of_another_model":
                self._other = _another(artifact, progress, threads)
            return super().load(artifact, progress)

        def generate(
            self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
        ) -> list[GenerationResult]:
            results = super().generate(requests, progress)
            told = [self._misled(request, one) for request, one in zip(requests, results, strict=True)]
            if on_token is not None:
                return super().generate(requests, progress, _replacing(on_token, told[0].logprobs))
            return results if fault == "streams_other_logprobs" else told

        def _misled(self, request: GenerationRequest, result: GenerationResult) -> GenerationResult:
            if request.logprobs is None or not result.new_ids:
                return result
            assert result.logprobs is not None
            if fault in ("logprobs_to_base_ten", "streams_other_logprobs"):
                return dataclasses.replace(result, logprobs=[_to_base_ten(one) for one in result.logprobs])
            return dataclasses.replace(result, logprobs=self._of_other_rows(request, result))

        def _of_other_rows(self, request: GenerationRequest, result: GenerationResult) -> list[TokenChoice]:
            import numpy

            from pytest_aprqa.engines.token_choices import token_choice
            from pytest_aprqa.models.token_bytes import token_bytes

            prompt, new = result.prompt_ids or [], result.new_ids or []
            rows = (self._other or self).logits([*prompt, *new], first=len(prompt) - 1)
            if fault == "logprobs_of_the_next_token":
                rows = rows[1:]
            elif fault == "logprobs_after_temperature" and request.temperature > 0:
                rows = rows / numpy.float32(request.temperature)
            bytes_of = functools.partial(token_bytes, self._loaded())
            pairs = zip(rows, new, strict=False)
            return [token_choice(row, token, request.logprobs or 0, bytes_of) for row, token in pairs]

    return MisleadingEngine(threads)


def _another(artifact: Artifact, progress: Progress, threads: int | None) -> Any:
    """An engine over the same file whose matrices are a little other ones."""
    import torch

    from pytest_aprqa.engines.torch_engine import TorchEngine

    engine = TorchEngine(threads)
    engine.load(artifact, progress)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in engine._model.parameters():
            if weight.dim() > 1:
                noise = torch.randn(weight.shape, generator=random) * weight.float().std() * NOISE
                weight.add_(noise.to(weight.dtype))
    return engine


def _to_base_ten(choice: TokenChoice) -> TokenChoice:
    def told(one: TokenLogprob) -> TokenLogprob:
        return dataclasses.replace(one, logprob=one.logprob / math.log(10))

    return TokenChoice(told(choice.chosen), [told(one) for one in choice.best])


def _replacing(sink: TokenSink, choices: list[TokenChoice] | None) -> TokenSink:
    """A sink that passes CHOICES on, one at a time, instead of what it is told."""
    left = iter(choices or [])

    def passed(text: str, ids: list[int], logprobs: list[TokenChoice] | None = None, /) -> None:
        if logprobs is None:
            sink(text, ids)
        else:
            sink(text, ids, [one for _, one in zip(logprobs, left, strict=False)])

    return passed
