"""What the SafeTensors source answers: greedy ids, their margins, texts and logits; made once a run for all workers.

An answer of the batch that its prompt alone would not give is made again alone: no neighbour is in a reference."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.host import EngineHost
    from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

PROMPT_LIMIT = 16  # prompts compared for I-1; the playbook's first ones
GOLDEN_PROMPT, GOLDEN_TOKENS = "What is 2+2?", 10  # gates.md 6.1
# Sequences are compared in their logits up to this many tokens and bytes; the rest of the prompts in their ids only.
LOGIT_TOKENS, LOGIT_BYTES = 320, 256 << 20
# Read by both models, teacher-forced: prose, numbers, code and other scripts, so that a wrong rotation or tokenizer
# has room to show. Cut to what the context and the limit above leave.
TEXT = (
    "A conversion is right when the target is the source up to the declared precision. In 1969, 3 people flew 384,400 "
    "km to the Moon and back.\n\ndef mean(values):\n    return sum(values) / len(values)\n\n"
    "Der schnelle braune Fuchs springt über den faulen Hund. 你好，世界。 Привет, мир! 2 + 2 = 4, 7 * 8 = 56."
)


@dataclass(frozen=True, slots=True)
class ReferenceAnswer:
    """One prompt: ids of prompt and answer, text, and by how much the best token led at each step (nats)."""

    prompt: str
    prompt_ids: list[int]
    new_ids: list[int]
    text: str
    margins: list[float]


@dataclass(frozen=True, slots=True)
class Reference:
    """Answers in prompt order, the golden answer, and sequences whose logits lie one after the other in `path`."""

    answers: list[ReferenceAnswer]
    golden: ReferenceAnswer
    sequences: list[list[int]]
    path: Path

    def logits(self) -> Iterator[tuple[list[int], Any]]:
        """(ids, float32 logits [len(ids), vocabulary]) of each sequence, from the file."""
        import numpy

        if not self.sequences:
            return
        rows = numpy.load(self.path, mmap_mode="r")
        position = 0
        for ids in self.sequences:
            yield ids, rows[position : position + len(ids)]
            position += len(ids)


def reference_prompts(playbook: Playbook) -> list[str]:
    """The distinct prompts of the playbook, in order, at most PROMPT_LIMIT."""
    return list(dict.fromkeys(playbook.matrix.prompts))[:PROMPT_LIMIT]


def ask(engine: LoadedEngine, playbook: Playbook) -> tuple[list[GenerationResult], GenerationResult]:
    """The engine's answers to the reference prompts, raw and greedy, in one batch; and the golden answer."""
    *results, golden = engine.generate([*_requests(playbook), _golden()])
    return results, golden


def _requests(playbook: Playbook) -> list[GenerationRequest]:
    tokens = playbook.matrix.max_tokens
    return [_request(f"reference-{i}", prompt, tokens) for i, prompt in enumerate(reference_prompts(playbook))]


def _golden() -> GenerationRequest:
    return _request("golden", GOLDEN_PROMPT, GOLDEN_TOKENS)


def _request(key: str, prompt: str, tokens: int) -> GenerationRequest:
    from pytest_aprqa.engines.protocol import GenerationRequest

    return GenerationRequest(key=key, prompt=prompt, mode="raw", max_new_tokens=tokens, temperature=0.0, seed=0)


def reference_answers(state: RunState, model: ModelUnderTest, playbook: Playbook) -> Reference:
    """The first process that asks computes them with an engine of its own; the others read its files.

    Raises the errors of the engine.
    """
    from filelock import FileLock

    assert state.shared is not None
    asked = json.dumps([reference_prompts(playbook), playbook.matrix.max_tokens]).encode()
    digest = f"{model.source().sha256[:16]}-{hashlib.sha256(asked).hexdigest()[:8]}"
    path = state.shared / f"reference-{digest}.json"
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            document = _compute(state, model, playbook, path.with_suffix(".npy"))
            temporary = path.with_suffix(".part")
            temporary.write_text(json.dumps(document), encoding="utf-8")
            temporary.replace(path)
        document = json.loads(path.read_text(encoding="utf-8"))
    *answers, golden = [ReferenceAnswer(**answer) for answer in document["answers"]]
    return Reference(answers, golden, document["sequences"], path.with_suffix(".npy"))


def _compute(state: RunState, model: ModelUnderTest, playbook: Playbook, logits: Path) -> dict[str, Any]:
    import numpy

    from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR
    from pytest_aprqa.engines.host import EngineHost

    requests = [*_requests(playbook), _golden()]
    state.report_progress(f"reference: {len(requests)} prompts on the SafeTensors source")
    limit = model.settings.timeout_ms / 1000
    host = EngineHost("torch", threads=state.pool.threads)
    rows: list[Any] = []
    sequences: list[list[int]] = []
    try:
        host.start()
        host.load(model.source(), timeout_s=limit * LOAD_TIMEOUT_FACTOR)
        answers = []
        # One limit a prompt, as when each were asked for alone.
        together = host.generate(requests, timeout_s=limit * len(requests))
        for request, first in zip(requests, together, strict=True):
            result, found = _checked(host, request, first, limit)
            prompt_ids, new_ids = list(result.prompt_ids or []), list(result.new_ids or [])
            ids = [*prompt_ids, *new_ids]
            margins = [] if found is None else _margins(found[len(prompt_ids) - 1 :], len(new_ids))
            answers.append(
                {"prompt": request.prompt, "prompt_ids": prompt_ids, "new_ids": new_ids, "text": result.text}
                | {"margins": margins}
            )
            if found is not None and request.key != "golden" and _room(sequences, len(ids), found.shape[1]):
                sequences.append(ids)
                rows.append(found)
        _add_text(host, model, limit, sequences, rows)
    finally:
        host.close()
    if rows:
        numpy.save(logits, numpy.concatenate(rows).astype(numpy.float32))
    return {"answers": answers, "sequences": sequences}


def _checked(
    host: EngineHost, request: GenerationRequest, result: GenerationResult, limit: float
) -> tuple[GenerationResult, Any]:
    """RESULT of a batch with the logits of its ids alone; where those choose another id, the answer made alone.

    Logits float32 (prompt and new ids, vocabulary); None for a prompt that was refused.
    """
    found = _logits(host, result, limit)
    if found is not None and not _is_greedy(found, len(result.prompt_ids or []), result.new_ids or []):
        result = host.generate([request], timeout_s=limit)[0]
        found = _logits(host, result, limit)
    return result, found


def _logits(host: EngineHost, result: GenerationResult, limit: float) -> Any:
    return host.logits([*result.prompt_ids, *(result.new_ids or [])], timeout_s=limit) if result.prompt_ids else None


def _is_greedy(logits: Any, prompt: int, new_ids: Sequence[int]) -> bool:
    """Whether each new id is the best token at its position."""
    best: list[int] = logits[prompt - 1 : prompt - 1 + len(new_ids)].argmax(axis=1).tolist()
    return best == list(new_ids)


def _room(sequences: Sequence[Sequence[int]], tokens: int, vocabulary: int) -> bool:
    """True when that many more tokens fit; half of the tokens are kept for TEXT."""
    total = sum(len(ids) for ids in sequences) + tokens
    return total <= LOGIT_TOKENS // 2 and total * vocabulary * 4 <= LOGIT_BYTES // 2


def _add_text(
    host: EngineHost, model: ModelUnderTest, limit: float, sequences: list[list[int]], rows: list[Any]
) -> None:
    """The logits of TEXT, as long as the context and the limits allow."""
    source = model.opened_source()
    ids = source.tokenizer.encode(TEXT)
    vocabulary = source.config.vocab_size
    most = min(LOGIT_TOKENS // 2, source.config.max_position_embeddings, LOGIT_BYTES // 2 // (4 * vocabulary))
    ids = [i for i in ids[:most] if i < vocabulary]
    if ids:
        sequences.append(ids)
        rows.append(host.logits(ids, timeout_s=limit))


def _margins(logits: Any, count: int) -> list[float]:
    """Logit of the best token less that of the second, at each of the first COUNT rows."""
    import numpy

    best = numpy.sort(numpy.partition(logits[:count], -2, axis=1)[:, -2:].astype(numpy.float64), axis=1)
    return [float(second_last) for second_last in best[:, 1] - best[:, 0]]
