"""The facts that a condition of `falsification_gates` may name, measured on one engine with one artifact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.playbooks.gate_conditions import Value
    from pytest_aprqa.playbooks.playbook import Playbook

TOKENS = 32
UNICODE = "Grüße, 你好, مرحبا, 🙂"
DEFAULT_PROMPT = "What is 2+2?"
LONG_PROMPT = " 1" * 200_000  # longer than any context of the supported models


class NotMeasured(ValueError):
    """One cell has no such fact, or the engine does not tell it."""


class GateFacts:
    """Facts by name; `tokens_per_second` also as `cpu.tokens_per_second` on a cpu cell. Each is measured once."""

    def __init__(self, engine: LoadedEngine, playbook: Playbook) -> None:
        self._engine = engine
        self._playbook = playbook
        self._known: dict[str, Value] = {}
        self._answers: list[tuple[str, GenerationResult]] | None = None
        self._deaths = {"crashes": 0, "timeouts": 0}
        self._seconds = 0.0

    def __call__(self, name: str) -> Value:
        """The value of a fact. NotMeasured says why there is none."""
        if name not in self._known:
            prefix, _, rest = name.partition(".")
            if prefix in ("cpu", "gpu") and rest in MEASURES:
                if prefix != self._engine.backend:
                    raise NotMeasured(f"{name}: this cell runs on the {self._engine.backend}")
                self._known[name] = MEASURES[rest](self)
            elif name in MEASURES:
                self._known[name] = MEASURES[name](self)
            else:
                raise NotMeasured(f"{name} is no fact of one engine and file; known: {', '.join(MEASURES)}")
        return self._known[name]

    # -- measures ------------------------------------------------------------------------------------------------------

    def answers(self) -> list[tuple[str, GenerationResult]]:
        """Every prompt of the playbook, one at a time; a death is counted and has no answer."""
        from pytest_aprqa.engines.errors import EngineCrashed, EngineTimeout

        if self._answers is None:
            self._answers = []
            started = time.monotonic()
            for prompt in self._playbook.matrix.prompts or (DEFAULT_PROMPT,):
                try:
                    self._answers.append((prompt, self._ask(prompt)))
                except EngineCrashed:
                    self._deaths["crashes"] += 1
                except EngineTimeout:
                    self._deaths["timeouts"] += 1
            self._seconds = time.monotonic() - started
        return self._answers

    def deaths(self, kind: str) -> float:
        """How many prompts ended the engine so."""
        self.answers()
        return float(self._deaths[kind])

    def shortest(self) -> float:
        """Characters of the shortest answer; a refusal and a death are 0 characters."""
        texts = [result.text.strip() if result.error is None else "" for _, result in self.answers()]
        return float(min(map(len, texts), default=0)) if not sum(self._deaths.values()) else 0.0

    def refused_by(self, oracle: str) -> tuple[int, int]:
        """(refused, judged) answers before one oracle."""
        from pytest_aprqa.oracles.selection import judge

        told = [
            one.verdict
            for prompt, result in self.answers()
            for one in judge(prompt, result.text, [{"type": oracle}], truncated=result.finish_reason == "length")
            if one.oracle == oracle and one.verdict != "skip"
        ]
        if not told:
            raise NotMeasured(f"the oracle {oracle} judged no answer")
        return told.count("fail"), len(told)

    def new_ids(self) -> list[int]:
        """How many new tokens each answer has."""
        counts = [result.new_length for _, result in self.answers() if result.new_length is not None]
        if not counts:
            raise NotMeasured("the engine does not tell how many tokens it generated")
        return counts

    def speed(self) -> float:
        """New tokens a second over all prompts, one after the other."""
        counts = self.new_ids()
        return sum(counts) / max(self._seconds, 1e-9)

    def text_of_repeat(self, again: bool) -> str:
        """The first answer, or the same request once more."""
        prompt = self._first_prompt()
        if again:
            return self._ask(prompt).text
        return next((result.text for asked, result in self.answers() if asked == prompt), "")

    def crashed(self, prompt: str) -> float:
        """1 where the prompt ends the engine, 0 where it is answered or refused."""
        from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineTimeout

        try:
            self._ask(prompt)
        except (EngineCrashed, EngineTimeout):
            return 1.0
        except EngineError:
            return 0.0
        return 0.0

    def served(self, what: str) -> Value:
        """Status of `/health`, or whether `/v1/completions` answers with valid JSON."""
        import httpx

        with httpx.Client(base_url=self._engine.server_url(), timeout=self._engine.timeout_s) as client:
            if what == "health":
                return float(client.get("/health").status_code)
            answer = client.post("/v1/completions", json={"prompt": self._first_prompt(), "max_tokens": 8})
        try:
            sound = isinstance(answer.json()["choices"][0]["text"], str)
        except (ValueError, LookupError, TypeError):
            sound = False
        return "valid" if sound and answer.status_code == 200 else "invalid"

    def _first_prompt(self) -> str:
        return (self._playbook.matrix.prompts or (DEFAULT_PROMPT,))[0]

    def _ask(self, prompt: str) -> GenerationResult:
        from pytest_aprqa.engines.protocol import GenerationRequest

        return self._engine.generate([GenerationRequest("gate", prompt, "raw", TOKENS)])[0]


def _share(facts: GateFacts) -> float:
    refused, judged = facts.refused_by("garbage")
    return refused / judged


MEASURES: dict[str, Callable[[GateFacts], Value]] = {
    "load.status": lambda facts: "ok",  # an engine that does not load ends the item before
    "crashes": lambda facts: facts.deaths("crashes"),
    "timeouts": lambda facts: facts.deaths("timeouts"),
    "output.length": GateFacts.shortest,
    "garbage_share": _share,
    "arithmetic.failed": lambda facts: float(facts.refused_by("arithmetic")[0]),
    "code_syntax.failed": lambda facts: float(facts.refused_by("code_syntax")[0]),
    "output": lambda facts: facts.text_of_repeat(False),
    "repeat.output": lambda facts: facts.text_of_repeat(True),
    "tokens_per_second": GateFacts.speed,
    "new_tokens": lambda facts: float(max(facts.new_ids())),
    "max_tokens": lambda facts: float(TOKENS),
    "empty_prompt.crashed": lambda facts: facts.crashed(""),
    "long_prompt.crashed": lambda facts: facts.crashed(LONG_PROMPT),
    "unicode_prompt.crashed": lambda facts: facts.crashed(UNICODE),
    "health.status": lambda facts: facts.served("health"),
    "completions.json": lambda facts: facts.served("completions"),
}
