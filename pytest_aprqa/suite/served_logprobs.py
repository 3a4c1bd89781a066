"""Questions to a server with `logprobs`, raw and chat, and its answers as choices of tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_aprqa.suite.parity import ask_once

if TYPE_CHECKING:
    import httpx

    from pytest_aprqa.engine_pool import LoadedEngine
    from pytest_aprqa.engines.protocol import TokenChoice
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration
    from pytest_aprqa.playbooks.playbook import Playbook

TOKENS = 8
BEST = 5  # what completions of the OpenAI interface tell at most
PROMPTS = 3
HOT = 2.0  # a temperature at which values after it are far from those before
STREAM_TOLERANCE = 1e-3  # nats: the same request, computed again
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Question:
    """A request and the ids that the model must be shown: of the raw prompt, or of the rendered turn."""

    prompt: str
    path: str
    temperature: float = 0.0
    rendered: list[int] | None = None

    @property
    def name(self) -> str:
        """What it is called in a message."""
        return f"{self.prompt[:40]!r} at temperature {self.temperature:g}"

    def body(self) -> dict[str, Any]:
        """The fields of the interface."""
        body: dict[str, Any] = {"max_tokens": TOKENS, "temperature": self.temperature, "seed": 1}
        if self.path == CHAT:
            turns = [{"role": "user", "content": self.prompt}]
            return body | {"messages": turns, "logprobs": True, "top_logprobs": BEST}
        return body | {"prompt": self.prompt, "logprobs": BEST}

    def prompt_ids(self, tokenizer: TokenizerDeclaration) -> list[int]:
        """Ids in front of the answer."""
        return self.rendered if self.rendered is not None else tokenizer.encode(self.prompt)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: choices and ids where told; `refusal`: the body of a status other than 200."""

    question: Question
    status: int
    choices: list[TokenChoice] = field(default_factory=list)
    token_ids: list[int] | None = None
    refusal: str | None = None


def completion_questions(playbook: Playbook) -> list[Question]:
    """The first prompts, greedy, and the first of them hot."""
    prompts = list(dict.fromkeys(playbook.matrix.prompts))[:PROMPTS]
    return [*(Question(prompt, COMPLETIONS) for prompt in prompts), Question(prompts[0], COMPLETIONS, HOT)]


def chat_questions(playbook: Playbook, tokenizer: TokenizerDeclaration) -> list[Question]:
    """The same as one user turn each."""
    from pytest_aprqa.models.chat_template import render_chat

    def rendered(prompt: str) -> list[int]:
        text = render_chat(
            tokenizer.chat_template or "",
            [{"role": "user", "content": prompt}],
            bos_token=tokenizer.bos_token,
            eos_token=tokenizer.eos_token,
            path=tokenizer.path,
        )
        return tokenizer.encode(text, add_special=False)

    return [Question(one.prompt, CHAT, one.temperature, rendered(one.prompt)) for one in completion_questions(playbook)]


def asked(engine: LoadedEngine, client: httpx.Client, question: Question) -> Answer:
    """One whole answer, asked for once in a run. EngineError: log-probabilities of another shape."""

    def compute() -> Answer:
        from pytest_aprqa.engines.logprob_format import parsed_logprobs
        from pytest_aprqa.served_answers import request_fields

        answer = client.post(question.path, json=question.body() | request_fields(engine, client))
        if answer.status_code != 200:
            return Answer(question, answer.status_code, refusal=answer.text)
        choice = answer.json()["choices"][0]
        return Answer(question, 200, parsed_logprobs(choice.get("logprobs")), choice.get("token_ids"))

    return ask_once(engine, f"logprobs-{question}", compute)


def streamed(engine: LoadedEngine, client: httpx.Client, question: Question) -> list[TokenChoice]:
    """The choices that the pieces of a stream tell, in their order."""
    from pytest_aprqa.engines.logprob_format import parsed_logprobs
    from pytest_aprqa.served_answers import request_fields, stream_chunks

    body = question.body() | request_fields(engine, client) | {"stream": True}
    choices: list[TokenChoice] = []
    for chunk in stream_chunks(client, question.path, body):
        for part in chunk.get("choices", []):
            choices += parsed_logprobs(part.get("logprobs"))
    return choices
