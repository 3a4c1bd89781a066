"""One loaded engine with batches against a process for each prompt, the bare engine loop, and direct generation.

On a random Qwen2, F16, CPU: 11 prompts x run and chat x 3 formats, 32 new tokens. Limits: 15 times faster than one
`apr run` each (wall time, reference included), memory at most twice the model; at most 1.05 of the bare loop; streaming
at most 1.05 of direct generation with 1 and with 50 clients. `--apr-prompts N` measures N prompts and reckons the rest.
The floor is the time that the same products of weights would take at the rate of one large product in float32.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the host sets it for its child; read when torch is imported

import httpx
import measuring
import psutil
import random_half_billion
import torch
from safetensors import safe_open

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest, GenerationResult
from pytest_aprqa.engines.torch_engine import TorchEngine
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact, describe_artifact
from pytest_aprqa.served_answers import stream_chunks

SPINS = "50000"
FASTER, MEMORY, BARE, STREAMED = 15.0, 2.0, 1.05, 1.05
PROMPTS = [
    "What is 2+2?", "What is 15-7?", "def add(a, b):", "Hello!", "The sky is", "What is 12*11?", "Calculate 7*8",
    "def fibonacci(n):", "Once upon a time", "What is your name?", "Count to five",
]  # fmt: skip
LIMIT_S = 3600.0
MODES = ("raw", "chat")


def requests(mode: str, count: int, tokens: int) -> list[GenerationRequest]:
    """The first prompts in one mode."""
    return [GenerationRequest(str(n), p, mode, max_new_tokens=tokens) for n, p in enumerate(PROMPTS[:count])]


@dataclass
class Ours:
    """What the same work as that of the plugin took: wall seconds, peak bytes of an engine, and its multiply-adds."""

    seconds: float = 0.0
    peak: int = 0
    multiply_adds: int = 0


def ours(artifacts: list[Artifact], count: int, tokens: int, weights: Weights) -> Ours:
    """As the plugin does it.

    First the reference in an engine of its own: answers in one batch, logits prompt by prompt. Then each cell as one
    batch.
    """
    started, found = time.perf_counter(), Ours()
    for job, artifact in [("reference", artifacts[0]), *(("cells", artifact) for artifact in artifacts)]:
        with EngineHost("torch", threads=os.cpu_count()) as host:
            host.load(artifact, LIMIT_S)
            for mode in MODES if job == "cells" else MODES[:1]:
                answers = host.generate(requests(mode, count, tokens), LIMIT_S)
                found.multiply_adds += sum(map(weights.multiply_adds_of, answers))
                for answer in answers if job == "reference" else ():
                    ids = [*(answer.prompt_ids or []), *(answer.new_ids or [])]
                    host.logits(ids, LIMIT_S)
                    found.multiply_adds += len(ids) * (weights.layers + weights.head)
            found.peak = max(found.peak, peak_of(host.pid))
    found.seconds = time.perf_counter() - started
    return found


@dataclass(frozen=True)
class Weights:
    """How many weights of a model stand in products: of its layers, and of its output head."""

    layers: int
    head: int

    @classmethod
    def of(cls, folder: Path) -> Weights:
        """Those of a Qwen2 with a tied head."""
        with safe_open(folder / "model.safetensors", "np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        head = math.prod(shapes.pop("model.embed_tokens.weight"))
        return cls(sum(math.prod(shape) for shape in shapes.values() if len(shape) == 2), head)

    def multiply_adds_of(self, answer: GenerationResult) -> int:
        """Of one answer with a cache: each token once through the layers, the head for each new one."""
        prompt, new = len(answer.prompt_ids or []), len(answer.new_ids or [])
        return (prompt + new - 1) * self.layers + new * self.head


def multiply_adds_per_second() -> float:
    """Rate of one product of 2048 x 2048 float32 matrices on all cores, median of nine."""
    one = torch.rand(2048, 2048)
    torch.set_num_threads(os.cpu_count() or 1)
    series = measuring.in_turns({"product": lambda: one @ one}, 9)
    return 2048**3 / series["product"].median


def peak_of(pid: int | None) -> int:
    """Largest resident memory of a living process in bytes, as the kernel kept it."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def program_each(program: str, artifacts: list[Artifact], count: int, tokens: int) -> dict[str, list[float]]:
    """Seconds of each `apr` process, by format and mode."""
    seconds: dict[str, list[float]] = {}
    for artifact in artifacts:
        with EngineHost(f"apr?{urlencode({'binary': program})}", threads=os.cpu_count()) as host:
            host.load(artifact, LIMIT_S)
            for mode in MODES:
                for request in requests(mode, count, tokens):
                    result = host.generate([request], LIMIT_S)[0]
                    seconds.setdefault(f"{artifact.format} {mode}", []).append(result.seconds)
                    print(f"    apr {artifact.format} {mode}: {result.seconds:.1f} s {result.error or ''}", flush=True)
    return seconds


def bare_ratio(artifact: Artifact, count: int, tokens: int, repeats: int) -> float:
    """Batches through the host (child process, pipe, JSON) over the same batches on the bare engine."""
    engine = TorchEngine(threads=os.cpu_count())
    engine.load(artifact, lambda *event: None)
    batch = requests("raw", count, tokens)
    with EngineHost("torch", threads=os.cpu_count()) as host:
        host.load(artifact, LIMIT_S)
        series = measuring.in_turns(
            {
                "bare": lambda: engine.generate(batch, lambda *event: None),
                "ours": lambda: host.generate(batch, LIMIT_S),
            },
            repeats,
        )
    return series["ours"].median / series["bare"].median


def streaming_ratio(artifact: Artifact, clients: int, tokens: int, repeats: int) -> float:
    """Streams of so many clients at once over the same prompts generated directly, one after the other."""
    with EngineHost("torch", threads=os.cpu_count()) as host:
        host.load(artifact, LIMIT_S)
        url = host.serve(LIMIT_S)
        prompts = [PROMPTS[n % len(PROMPTS)] for n in range(clients)]

        def direct() -> None:
            for prompt in prompts:
                host.generate([GenerationRequest("d", prompt, max_new_tokens=tokens)], LIMIT_S)

        def streamed() -> None:
            with httpx.Client(base_url=url, timeout=LIMIT_S, limits=httpx.Limits(max_connections=clients)) as client:

                def one(prompt: str) -> list[Any]:
                    body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True}
                    return list(stream_chunks(client, "/v1/completions", body))

                with concurrent.futures.ThreadPoolExecutor(clients) as pool:
                    list(pool.map(one, prompts))

        series = measuring.in_turns({"direct": direct, "streamed": streamed}, repeats)
    return series["streamed"].median / series["direct"].median


def main() -> int:
    """Measure, print, write; exit 1 outside a limit."""
    options = _options()
    program = options.apr_binary or shutil.which("apr")
    with tempfile.TemporaryDirectory() as scratch:
        folder = random_half_billion.make(Path(scratch) / "model", options.shape)
        cache = Path(scratch) / "cache"
        artifacts = [describe_artifact(folder, "safetensors")]
        artifacts += [derive(folder, name, cache=cache) for name in ("apr", "gguf")]
        size = (folder / "model.safetensors").stat().st_size
        weights = Weights.of(folder)
        asleep = ours(artifacts, options.prompts, options.tokens, weights)
        os.environ["GOMP_SPINCOUNT"] = SPINS
        spinning = ours(artifacts, options.prompts, options.tokens, weights)
        del os.environ["GOMP_SPINCOUNT"]
        floor = asleep.multiply_adds / multiply_adds_per_second()
        seconds, peak = spinning.seconds, max(asleep.peak, spinning.peak)
        rows = [
            ("ours, threads sleep while they wait", f"{asleep.seconds:.1f} s"),
            (f"ours, GOMP_SPINCOUNT={SPINS}", f"{seconds:.1f} s"),
            ("floor: its products alone", f"{floor:.1f} s"),
            ("memory / model", f"{peak / size:.2f}"),
        ]
        figures: dict[str, Any] = {
            "ours_asleep_s": round(asleep.seconds, 2), "ours_s": round(seconds, 2), "floor_s": round(floor, 2),
            "multiply_adds": asleep.multiply_adds, "memory_ratio": round(peak / size, 3),
        }  # fmt: skip
        within = peak / size <= MEMORY
        if program is not None:
            each = program_each(program, artifacts, min(options.apr_prompts, options.prompts), options.tokens)
            reckoned = sum(statistics.mean(times) * options.prompts for times in each.values())
            rows += [("apr, a process each", f"{reckoned:.1f} s"), ("times faster", f"{reckoned / seconds:.1f}")]
            rows.append(("times faster at the floor", f"{reckoned / floor:.1f}"))
            figures |= {"apr_s": round(reckoned, 1), "times_faster": round(reckoned / seconds, 2), "apr_each_s": each}
            figures["times_faster_at_floor"] = round(reckoned / floor, 2)
            within = within and reckoned / seconds >= FASTER
        bare = bare_ratio(artifacts[0], options.prompts, options.tokens, options.repeats)
        rows.append(("ours / bare engine", f"{bare:.3f}"))
        figures["bare_ratio"] = round(bare, 4)
        within = within and bare <= BARE
        for clients in (1, 50):
            ratio = streaming_ratio(artifacts[0], clients, options.stream_tokens, options.repeats)
            rows.append((f"streamed / direct, {clients} clients", f"{ratio:.3f}"))
            figures[f"streamed_ratio_{clients}"] = round(ratio, 4)
            within = within and ratio <= STREAMED
    measuring.show(f"engines, {options.shape}, {options.prompts} prompts, {options.tokens} tokens", rows)
    limits = {"times_faster": FASTER, "memory_ratio": MEMORY, "bare_ratio": BARE, "streamed_ratio": STREAMED}
    load = round(psutil.getloadavg()[0], 1)
    measuring.write("engines", **figures, limits=limits, options=vars(options), load_average=load)
    return 0 if within else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=sorted(random_half_billion.SHAPES), default="0.5b")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--apr-prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--stream-tokens", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--apr-binary")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
