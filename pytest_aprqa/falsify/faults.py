"""The faults of engines and servers that the checks of behaviour must name, each with where it was seen."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_aprqa.defects.expectations import Expectation

ENGINE = "pytest_aprqa.misbehaving_engine"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `name` with the prefix `engine-` is the item; `expected` what must name it."""

    name: str
    title: str
    origin: str
    expected: Expectation

    @property
    def target(self) -> str:
        """The engine with this fault, as an engine plugin names it."""
        return f"{ENGINE}:{self.name.replace('-', '_')}"

    def to_json(self) -> dict[str, str]:
        """The fields that a defect of an artifact has too."""
        fields = {"name": f"engine-{self.name}", "title": self.title, "origin": self.origin}
        return {**fields, "format": "engine", "gateway": self.expected.gates[0]}


def _fault(name: str, gate: str, words: str, title: str, origin: str, *also: str) -> Fault:
    return Fault(name, title, origin, Expectation((gate,), words, also))


TRUNCATION = "ollama/ollama#3839, #8099: prompts beyond the context are cut without a word"
STREAM = "maximhq/bifrost#597, anomalyco/opencode#43379: pieces or the end of a stream are missing"
PROTOCOL = "measured: servers that count as healthy by their status alone"

FAULTS: tuple[Fault, ...] = (
    _fault(
        "rounds-weights",
        "F-CONTRACT-I1-001",
        r"differ from the reference.*token \d+",
        "the engine computes with weights rounded to 2 bits",
        "measured: apr 0.72.3 serves SafeTensors from a 4-bit copy without a word",
        "F-HFP-001",
        "F-PARITY-001",
        "F-GOLDEN-RULE-001",
    ),
    _fault(
        "drifts",
        "F-STAB-001",
        "again",
        "the same greedy request gives another answer each time",
        "ollama/ollama#586, vllm-project/vllm#6719: temperature 0 is not deterministic",
    ),
    _fault(
        "depends-on-the-batch",
        "F-STAB-001",
        "alone",
        "an answer depends on what else is in the batch",
        "ggml-org/llama.cpp#7052, #6950, jundot/omlx#3476: greedy output depends on the batch",
    ),
    _fault(
        "broken-by-an-empty-prompt",
        "F-EDGE-001",
        "does not answer after an empty prompt",
        "an empty prompt breaks the engine",
        "measured: state left behind by a request that failed",
    ),
    _fault("cuts-long-prompts", "F-EDGE-002", "cut without a word", "long prompts are cut silently", TRUNCATION),
    _fault(
        "refuses-without-a-limit", "F-EDGE-002", "does not name the limit", "a refusal that names no limit", TRUNCATION
    ),
    _fault(
        "unicode-lost",
        "F-EDGE-003",
        "the model was shown",
        "characters beyond ASCII do not reach the model",
        "measured: apr 0.72.3, one prompt has other ids in other modalities",
    ),
    _fault(
        "ignores-the-token-limit",
        "F-EDGE-004",
        r"max_tokens 1: \d+ new tokens",
        "more tokens than max_tokens",
        "ggml-org/llama.cpp#4047, ollama/ollama#18575: more tokens than asked for",
    ),
    _fault("slow", "F-PERF-001", "tok/s < ", "decoding is slower than the playbook allows", "measured: process start"),
    _fault("health-says-503", "F-HTTP-002", "GET /health: status 503", "/health answers 503", PROTOCOL),
    _fault("lists-no-model", "F-HTTP-002", "lists no model", "/v1/models is empty", PROTOCOL),
    _fault("stream-loses-a-piece", "F-HTTP-010", "streamed .*, whole", "a piece of the stream is lost", STREAM),
    _fault("stream-without-an-end", "F-HTTP-010", r"without data: \[DONE\]", "the stream has no end", STREAM),
    _fault(
        "usage-counts-nothing",
        "F-HTTP-010",
        "no completion token",
        "usage counts no completion token",
        "anomalyco/opencode#43379: usage and content do not agree",
    ),
    _fault(
        "usage-counts-one-more",
        "F-HTTP-014",
        r"usage counts \d+ prompt tokens, not \d+",
        "usage counts a prompt token that the model was not shown",
        "abetlen/llama-cpp-python#1344, vllm-project/vllm#8625, ggml-org/llama.cpp#5863: usage counts wrongly",
    ),
    _fault(
        "huge-limits-are-500",
        "F-HTTP-018",
        "max_tokens 1000000: status 500",
        "a huge max_tokens is an internal error",
        "nearai/nearai#215: status 500 where max_tokens hits the limit",
    ),
    _fault(
        "mixes-clients",
        "F-HTTP-019",
        "with 9 others",
        "clients that ask at the same time get each other's answers",
        "ggml-org/llama.cpp#10072: slots are mixed up by concurrent requests",
    ),
    _fault(
        "slow-clients-are-refused",
        "F-SERVE-006",
        "a slow client got .*408",
        "a client whose body comes in pieces is refused",
        "written for this gate: a server that reads a body once",
    ),
    _fault(
        "broken-by-a-half-closed-client",
        "F-SERVE-006",
        "status 503",
        "a client that closed its half of the connection breaks the server for all others",
        "written for this gate: a server that takes a lost client for the end",
    ),
    _fault(
        "generates-for-nobody",
        "F-SERVE-007",
        "still generates for them",
        "the server goes on generating for clients that went away",
        "ggml-org/llama.cpp#24496, sgl-project/sglang#37833: generation goes on after a disconnect",
    ),
    _fault(
        "streams-at-once",
        "F-SERVE-003",
        "the stream is not live",
        "a stream that comes in one piece at the end",
        "vllm-project/vllm#460: streaming begins when the response is complete",
    ),
    _fault(
        "forgets-the-first-turn",
        "F-HTTP-013",
        r"3 turns: \d+ prompt tokens",
        "of a conversation only the last turn is shown to the model",
        "written for this gate: a server that keeps the last message",
    ),
    _fault(
        "halves-the-temperature",
        "F-SAMPLE-001",
        "draws do not follow the logits",
        "samples at half of the temperature",
        "written for this gate: a sampler with a default of its own",
    ),
    _fault(
        "ignores-the-seed",
        "F-STAB-002",
        r"seed \d+ gives .*, then",
        "the seed of a request is ignored",
        "written for this gate: a sampler with one stream of random numbers for all",
    ),
    _fault(
        "has-one-seed",
        "F-STAB-002",
        r"\d+ seeds give the same answer at temperature 2",
        "the seed of the server is taken for that of every request",
        "measured: apr 0.72.3 serves completions with a seed of its own",
    ),
    _fault(
        "ignores-top-p",
        "F-SAMPLE-002",
        "draws do not follow the logits",
        "top_p is ignored without a word",
        "written for this gate: fields of the interface that a server drops",
    ),
    _fault(
        "ignores-stop-sequences",
        "F-CHAT-004",
        "is ignored",
        "stop sequences are ignored without a word",
        "written for this gate: fields of the interface that a server drops",
    ),
    _fault(
        "ignores-logprobs",
        "F-LOGPROB-001",
        "logprobs is ignored",
        "logprobs is ignored without a word",
        "measured: apr 0.72.3 answers completions with status 200 and without them",
    ),
    _fault(
        "logprobs-of-another-model",
        "F-LOGPROB-001",
        "are not those of the logits",
        "log-probabilities of a model with other weights",
        "written for this gate: a server that scores with a copy of its own",
    ),
    _fault(
        "logprobs-after-temperature",
        "F-LOGPROB-001",
        "at temperature 2: .* nats off",
        "log-probabilities of logits that the temperature has divided",
        "written for this gate: a server that scores after its sampler",
    ),
    _fault(
        "logprobs-of-the-next-token",
        "F-LOGPROB-001",
        "position 0: ",
        "log-probabilities one position late",
        "written for this gate: a row too far in a buffer of scores",
    ),
    _fault(
        "logprobs-to-base-ten",
        "F-LOGPROB-002",
        "nats off",
        "logarithms to base ten instead of natural ones",
        "written for this gate: the other logarithm of a library",
    ),
    _fault(
        "streams-other-logprobs",
        "F-LOGPROB-003",
        r"streamed -\S+, whole -",
        "a stream carries other log-probabilities than the whole answer",
        "written for this gate: two code paths, one of them wrong",
    ),
    _fault(
        "leaves-a-process",
        "F-HTTP-004",
        r"process \d+: ",
        "a process of the engine survives its end",
        "written for this gate: a helper in a session of its own",
    ),
    _fault(
        "leaves-the-port",
        "F-HTTP-004",
        r"port \d+ still answers",
        "the port of the server is still taken after its end",
        "written for this gate: a listening socket that a helper inherits",
    ),
    _fault(
        "bad-request-is-200",
        "F-HTTP-017",
        "status 200",
        "bad requests are answered with 200",
        "measured: apr 0.72.3, qa and profile end with 0 where nothing was checked",
    ),
    _fault(
        "template-on-raw-prompts",
        "F-MODALITY-002",
        r"\d+ in the engine, \d+ in the file",
        "the chat template is put around raw prompts",
        "measured: apr 0.72.3 wraps raw prompts of SafeTensors, 31 prompt ids for 9",
    ),
    _fault(
        "template-twice",
        "F-MODALITY-003",
        r"\d+ in the engine, \d+ in the file",
        "the chat template is applied twice",
        "abetlen/llama-cpp-python#1501: a rendered prompt gets a second beginning",
    ),
    _fault(
        "prints-byte-symbols",
        "F-MODALITY-004",
        "its ids are",
        "byte-level symbols are printed instead of text",
        "measured: the text form of apr 0.72.3 run, which its JSON form decodes",
    ),
    _fault(
        "server-adds-a-space",
        "F-MODALITY-001",
        "prompt ids",
        "the server puts a space before the prompt",
        "ggml-org/llama.cpp#6734: main and server answer the same prompt differently",
    ),
)
# Defects that a converter of ours makes in every file that it writes: the conversion edges must name them.
CONVERTER_DEFECTS = {
    "gguf-tensor-scaled": r"down_proj\S*: .*scaled by about 1\.25",
    "gguf-rope-theta-wrong": r"rope_theta: 10\.0, expected",
    "apr-bias-lost": r"q_proj\.bias: missing, expected present",
    "apr-tokenizer-of-another-model": "another tokenization",
}
CONVERSIONS = "F-CONV-{conversion}"
# By what the engine without a fault must be accepted: every gate that a fault of the stand-in trips, but speed, which
# is asked too high on purpose, and I-1, which a stand-in without a model cannot hold.
NO_FAULT = "no_fault"
ACCEPTED_BY = tuple(
    dict.fromkeys(fault.expected.gates[0] for fault in FAULTS if fault.name not in ("slow", "rounds-weights"))
)
