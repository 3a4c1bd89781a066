"""Reference ids of a playbook: SafeTensors, float32, one prompt at a time; made once a run for all workers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.run_state import RunState

PROMPT_LIMIT = 16  # prompts compared for I-1; the playbook's first ones


def reference_prompts(playbook: Playbook) -> list[str]:
    """The distinct prompts of the playbook, in order, at most PROMPT_LIMIT."""
    return list(dict.fromkeys(playbook.matrix.prompts))[:PROMPT_LIMIT]


def ask(engine: LoadedEngine, playbook: Playbook) -> dict[str, list[int]]:
    """New ids for each reference prompt, raw and greedy, in one batch."""
    results = engine.generate(_requests(playbook))
    return dict(zip(reference_prompts(playbook), (r.new_ids or [] for r in results), strict=True))


def _requests(playbook: Playbook) -> list:  # type: ignore[type-arg]
    from pytest_aprqa.engines.protocol import GenerationRequest

    return [
        GenerationRequest(
            key=f"reference-{i}",
            prompt=prompt,
            mode="raw",
            max_new_tokens=playbook.matrix.max_tokens,
            temperature=0.0,
            seed=0,
        )
        for i, prompt in enumerate(reference_prompts(playbook))
    ]


def reference_answers(state: RunState, model: ModelUnderTest, playbook: Playbook) -> dict[str, list[int]]:
    """Ids by prompt. The first process that asks computes them with an engine of its own; the others read its file."""
    from filelock import FileLock

    assert state.shared is not None
    digest = model.source().sha256[:16]
    path = state.shared / f"reference-{playbook.name}-{digest}.json"
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            answers = _compute(state, model, playbook)
            temporary = path.with_suffix(".part")
            temporary.write_text(json.dumps(answers), encoding="utf-8")
            temporary.replace(path)
        pairs = json.loads(path.read_text(encoding="utf-8"))
    return {prompt: [int(i) for i in ids] for prompt, ids in pairs}


def _compute(state: RunState, model: ModelUnderTest, playbook: Playbook) -> list[tuple[str, list[int]]]:
    from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR
    from pytest_aprqa.engines.host import EngineHost

    state.report_progress(f"reference: {len(reference_prompts(playbook))} prompts on the SafeTensors source")
    limit = model.settings.timeout_ms / 1000
    host = EngineHost("torch", threads=state.pool.threads)
    try:
        host.start()
        host.load(model.source(), timeout_s=limit * LOAD_TIMEOUT_FACTOR)
        pairs = []
        for prompt, request in zip(reference_prompts(playbook), _requests(playbook), strict=True):
            result = host.generate([request], timeout_s=limit)[0]
            pairs.append((prompt, list(result.new_ids or [])))
        return pairs
    finally:
        host.close()
