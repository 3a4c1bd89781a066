"""Noise of clean quantisation in small trained models of several families, held against every limit of the numerics.

python benchmarks/noise_floors.py [--families llama gemma2 ...] [--steps 350] [--texts 200] [--output FILE]
Every matrix of a model (trained by trained_families.py, or bundled) is stored in one type by this package's encoder
and, where llama-cpp-python is installed, by llama.cpp's. Measured: largest NMSE of a matrix; divergence, best tokens,
perplexity over texts that the model learnt and over others; the same in samples as large as a run compares, with how
many of them a gate would refuse; greedy answers that part beyond the margin; slopes of heads.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from encoders import OURS, THEIRS, quantisers, stored
from slope_floors import deviation, of_model
from trained_families import CACHE, END_IDS, FAMILIES, STEPS, TINY, documents, token_ids, trained_folder

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pytest_aprqa.models.token_battery import BATTERY  # noqa: E402
from pytest_aprqa.numerics.behaviour_limits import BehaviourLimits, behaviour_limits  # noqa: E402
from pytest_aprqa.numerics.head_slopes import is_judged  # noqa: E402
from pytest_aprqa.numerics.limits import limit_for  # noqa: E402
from pytest_aprqa.numerics.logit_comparison import LogitDistance, compare_logits  # noqa: E402
from pytest_aprqa.reference_answers import LOGIT_TOKENS, TEXT  # noqa: E402
from pytest_aprqa.suite.test_behaviour_parity import STANDARD_ERRORS  # noqa: E402

BUNDLED = "tiny-qwen2"
TYPES = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "Q3_K", "Q2_K")
BATCH, CONTEXT = 64, 160
SAMPLES = 20  # runs that are played, each with as many positions as the checks compare
PROMPTS, ANSWER = 48, 16  # greedy answers, and tokens of each at most
Logits = list[Any]


class Texts:
    """Ids that every model reads: `learnt` texts, `foreign` ones, and `greedy`: prompts that the source continues."""

    def __init__(self, count: int) -> None:
        tokenizer = transformers.AutoTokenizer.from_pretrained(TINY)
        draw = random.Random(5)
        arithmetic, texts = documents()
        chosen = [*draw.sample(arithmetic, count), *texts]
        self.learnt = [token_ids(tokenizer, document) for document in chosen]
        asked = [tokenizer(d.prompt, add_special_tokens=False)["input_ids"] for d in chosen]
        self.prompts = [asked[i] for i in draw.sample(range(len(asked)), PROMPTS)]
        others = [
            tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"][:CONTEXT] for text in (TEXT, *BATTERY)
        ]
        self.foreign = [ids for ids in others if len(ids) > 1]


@torch.no_grad()
def logits_of(model: Any, sequences: list[list[int]]) -> Logits:
    """Float32 logits [ids, vocabulary] of each sequence; padding stands behind the ids, where no position sees it."""
    found: dict[int, Any] = {}
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        longest = len(sequences[part[-1]])
        ids = torch.tensor([sequences[i] + [0] * (longest - len(sequences[i])) for i in part])
        rows = model(input_ids=ids, use_cache=False).logits.float().numpy()
        found |= {i: rows[n, : len(sequences[i])].copy() for n, i in enumerate(part)}
    return [found[i] for i in range(len(sequences))]


@torch.no_grad()
def greedy(model: Any, prompts: list[list[int]]) -> list[list[int]]:
    """Each prompt with the model's greedy answer, which ends with a stop token or after ANSWER tokens."""
    found = []
    for prompt in prompts:
        ids = list(prompt)
        while len(ids) < len(prompt) + ANSWER:
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in END_IDS:
                break
        found.append(ids)
    return found


def behaviour(distance: LogitDistance, limits: BehaviourLimits) -> dict[str, float]:
    """Numbers of one comparison; `beyond_margin`: share of positions that changed though they led by more."""
    leads = sorted((one.margin for one in distance.disagreements or ()), reverse=True)
    beyond = sum(lead > limits.margin for lead in leads)
    return {
        "positions": distance.tokens,
        "kld": distance.mean_kld,
        "top1_agreement": distance.top1_agreement,
        "perplexity_ratio": distance.perplexity_ratio,
        "beyond_margin": beyond / distance.tokens,
        "largest_lead": leads[0] if leads else 0.0,
    }


def played(distance: LogitDistance, limits: BehaviourLimits) -> dict[str, float]:
    """What a run would see."""
    return {
        "tokens": distance.tokens,
        "beyond": sum(one.margin > limits.margin for one in distance.disagreements or ()),
        "kld": distance.mean_kld,
        "standard_error": distance.standard_error,
        "perplexity_ratio": distance.perplexity_ratio,
    }


def refusals(run: dict[str, float], limits: BehaviourLimits) -> list[str]:
    """Which checks of behaviour would refuse the file of this run."""
    refused = {
        "F-HFP-001": run["kld"] > limits.kld + STANDARD_ERRORS * run["standard_error"],
        "F-PARITY-001": run["beyond"] > limits.allowed_beyond(int(run["tokens"])),
        "F-PAR-003": run["perplexity_ratio"] > limits.perplexity_ratio,
    }
    return [gate for gate, wrong in refused.items() if wrong]


def samples(sequences: Sequence[list[int]], foreign: int) -> Iterator[list[int]]:
    """Indices of sequences as many as a run compares: learnt ones for half of its tokens, the last FOREIGN for half."""
    draw = random.Random(11)
    parts = [range(len(sequences) - foreign), range(len(sequences) - foreign, len(sequences))]
    for _ in range(SAMPLES):
        chosen: list[int] = []
        for part in parts:
            total = 0
            for i in draw.sample(part, len(part)):
                if total + len(sequences[i]) > LOGIT_TOKENS // 2:
                    break
                total += len(sequences[i])
                chosen.append(i)
        yield chosen


def parted_answers(distance: LogitDistance, answers: list[list[int]], prompts: list[list[int]], margin: float) -> int:
    """Greedy answers whose first token that is not the reference's led by more than the margin.

    Teacher-forced: until its first difference an answer has read what the reference has.
    """
    first: dict[int, float] = {}
    for one in sorted(distance.disagreements or (), key=lambda d: (d.sequence, d.position)):
        if len(prompts[one.sequence]) - 1 <= one.position < len(answers[one.sequence]) - 1:
            first.setdefault(one.sequence, one.margin)
    return sum(lead > margin for lead in first.values())


class Subject:
    """A model, its folder, its texts and the logits that the unchanged model gives."""

    def __init__(self, folder: Path, texts: Texts, damage: bool = False) -> None:
        self.folder, self.texts, self.damage = folder, texts, damage
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        self.family = self.model.config.model_type
        self.original = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        self.answers = greedy(self.model, texts.prompts)
        self.sequences = [*texts.learnt, *texts.foreign]
        self.reference = logits_of(self.model, self.sequences)
        self.reference_answers = logits_of(self.model, self.answers)
        self.heads = list(of_model(folder))

    def measure(self, dtype: str, encoder: str) -> dict[str, Any] | None:
        """All numbers of one type by one encoder; None where it does not write the type."""
        quantiser, state, worst = quantisers()[encoder], dict(self.original), 0.0
        for name, tensor in self.original.items():
            if tensor.ndim == 2:
                values = tensor.numpy()
                back = stored(quantiser, dtype, values)
                if back is None:
                    return None
                wide = values.astype(np.float64)
                worst = max(worst, float(((back - wide) ** 2).sum() / (wide**2).sum()))
                state[name] = torch.from_numpy(np.array(back))
        if self.damage:
            damaged = next(name for name in state if "down_proj" in name or "dense_4h_to_h" in name)
            state[damaged] = state[damaged].roll(1, 0)
        self.model.load_state_dict(state)
        found = self._behaviour(behaviour_limits(dtype))
        self.model.load_state_dict(self.original)
        judged = [deviation(case, dtype, quantiser) for case in self.heads if is_judged(case[1], dtype)]
        slopes = [max(pair) for pair in zip(*[one for one in judged if one], strict=True)]
        return {"nmse": worst, **found, "head_slopes": slopes}

    def _behaviour(self, limits: BehaviourLimits) -> dict[str, Any]:
        logits, foreign = logits_of(self.model, self.sequences), len(self.texts.foreign)
        triples = list(zip(self.sequences, self.reference, logits, strict=True))
        runs = [played(compare_logits([triples[i] for i in s]), limits) for s in samples(self.sequences, foreign)]
        again = zip(self.answers, self.reference_answers, logits_of(self.model, self.answers), strict=True)
        parted = parted_answers(compare_logits(again), self.answers, self.texts.prompts, limits.margin)
        return {
            "learnt": behaviour(compare_logits(triples[:-foreign]), limits),
            "foreign": behaviour(compare_logits(triples[-foreign:]), limits),
            "runs": {
                "refused": sum(bool(refusals(run, limits)) for run in runs),
                "most_beyond": max(run["beyond"] for run in runs),
            },
            "answers_parted": parted,
        }


def rows(found: dict[str, Any]) -> Iterator[tuple[str, str, str, dict[str, float]]]:
    """(type, family, encoder, measure -> share of its limit): 1 is at the limit.

    Divergence and `beyond`: half of learnt texts and half of others, as a run compares them.
    """
    for family, one in found.items():
        for encoder, types in one["types"].items():
            for dtype, row in types.items():
                limits, both = behaviour_limits(dtype), (row["learnt"], row["foreign"])
                ratio = max(text["perplexity_ratio"] for text in both)
                shares = {
                    "nmse": row["nmse"] / limit_for(dtype, "F32", family=one["architecture"]),
                    "kld": sum(text["kld"] for text in both) / 2 / limits.kld,
                    "perplexity": (ratio - 1) / (limits.perplexity_ratio - 1),
                    "margin": max(text["largest_lead"] for text in both) / limits.margin,
                    "top-1": min(text["top1_agreement"] for text in both),
                    "beyond %": 100 * sum(text["beyond_margin"] for text in both) / 2,
                    "limit %": 100 * limits.beyond_margin,
                    "refused": row["runs"]["refused"] / SAMPLES,
                    "parted": row["answers_parted"] / PROMPTS,
                }
                yield dtype, family, encoder, shares


def print_table(found: dict[str, Any]) -> None:
    """A line a type and family, the worse encoder of each; then what each gate refuses."""
    lines: dict[tuple[str, str], dict[str, float]] = {}
    for dtype, family, _, values in rows(found):
        known = lines.setdefault((dtype, family), values)
        lines[dtype, family] = {n: (min if n == "top-1" else max)(known[n], v) for n, v in values.items()}
    print("\nshares of the limit (1 is at the limit), the worse encoder of each")
    names = list(next(iter(lines.values())))
    print(f"{'type':7}{'family':12}" + "".join(f"{name:>11}" for name in names))
    for (dtype, family), values in sorted(lines.items(), key=lambda line: (TYPES.index(line[0][0]), line[0][1])):
        print(f"{dtype:7}{family:12}" + "".join(f"{values[name]:11.3g}" for name in names))


def main() -> None:
    """Train what is missing, measure, print the tables and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="*", default=[BUNDLED, *FAMILIES], choices=[BUNDLED, *FAMILIES])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--texts", type=int, default=200, help="arithmetic texts that are compared")
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--damage", action="store_true", help="rows of one matrix are off by one in every file")
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    texts, found = Texts(arguments.texts), {}
    for family in arguments.families:
        folder = TINY if family == BUNDLED else trained_folder(family, arguments.steps, arguments.cache)
        subject = Subject(folder, texts, arguments.damage)
        encoders = [name for name in (OURS, THEIRS) if name in quantisers()]
        measured = {name: {dtype: subject.measure(dtype, name) for dtype in arguments.types} for name in encoders}
        types = {name: {d: row for d, row in one.items() if row is not None} for name, one in measured.items()}
        found[family] = {"architecture": subject.family, "types": types}
        print(f"{family}: measured", flush=True)
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print_table(found)


if __name__ == "__main__":
    main()
