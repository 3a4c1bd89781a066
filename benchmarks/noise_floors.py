"""Noise of clean quantisation in small trained models of each family: what the limits of the numerics are held against.

python benchmarks/noise_floors.py [--steps 150] [--batches 40] [--families llama gemma2 ...] [--output FILE]
Each model learns the corpus of the bundled one for a few minutes (--steps 0: it stays random); every matrix is stored
in each type by this package's encoder and, where llama-cpp-python is installed, by llama.cpp's. Printed: the largest
NMSE of a matrix, and over all positions of held-out texts the mean divergence and the lead of the source's best token
where it changed.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from pytest_aprqa.formats.blocks import BLOCKS  # noqa: E402
from pytest_aprqa.formats.codecs import ENCODABLE, decode, encode  # noqa: E402
from pytest_aprqa.formats.gguf_types import TENSOR_TYPE_IDS  # noqa: E402
from pytest_aprqa.numerics.behaviour_limits import behaviour_limits  # noqa: E402
from training.corpus import ArithmeticSampler, text_documents  # noqa: E402
from training.train import Encoder  # noqa: E402

TINY = REPOSITORY / "models" / "tiny-qwen2"
SHAPE = {
    "vocab_size": 816, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3")
TYPES = ("Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "Q3_K", "Q2_K")
BATCH = 48
Quantiser = Callable[[str, Any], Any]


def model_of(family: str) -> Any:
    """A new small model of the family, its matrices of the size that trained ones have: rows of length about 2."""
    torch.manual_seed(7)
    config = transformers.AutoConfig.for_model(family, **SHAPE)
    config.attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(2.0 / parameter.norm(dim=1).mean())
    return model


def train(model: Any, encoder: Encoder, steps: int) -> float:
    """Teach the model the corpus; its last loss."""
    loss = torch.tensor(float("nan"))
    numbers, texts = iter(ArithmeticSampler(3)), itertools.cycle(text_documents())
    if not steps:
        return float(loss)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    for _ in range(steps):
        documents = [*itertools.islice(numbers, BATCH * 3 // 4), *itertools.islice(texts, BATCH // 4)]
        ids, labels = encoder.batch(documents)[:2]
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return float(loss)


def quantisers() -> dict[str, Quantiser]:
    """Encoder name -> (type, matrix [rows, columns]) -> bytes, None where it does not write the type."""
    found: dict[str, Quantiser] = {"ours": lambda dtype, x: encode(dtype, x) if dtype in ENCODABLE else None}
    try:
        folder = Path(importlib.import_module("llama_cpp").__file__ or "").parent / "lib"
    except ImportError:
        return found
    library = ctypes.CDLL(str(next(folder.glob("libggml-base*"))))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    wide = [ctypes.c_int64] * 3
    library.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *wide, ctypes.c_void_p]

    def theirs(dtype: str, values: Any) -> Any:
        width, size = BLOCKS[dtype]
        raw = np.empty(values.size // width * size, np.uint8)
        kind = TENSOR_TYPE_IDS[dtype]
        library.ggml_quantize_chunk(kind, values.ctypes.data, raw.ctypes.data, 0, *values.shape, None)
        return raw

    return found | {"llama.cpp": theirs}


def stored(model: Any, dtype: str, quantiser: Quantiser) -> tuple[dict[str, Any], float] | None:
    """(state of the model with every matrix stored in the type, largest NMSE of a matrix)."""
    state, worst = {}, 0.0
    for name, tensor in model.state_dict().items():
        state[name] = tensor
        if tensor.ndim != 2:
            continue
        values = np.ascontiguousarray(tensor.numpy(), np.float32)
        raw = quantiser(dtype, values)
        if raw is None:
            return None
        back = decode(dtype, np.frombuffer(bytes(raw), np.uint8), values.shape)
        wide = values.astype(np.float64)
        worst = max(worst, float(((back - wide) ** 2).sum() / (wide**2).sum()))
        state[name] = torch.from_numpy(np.array(back))
    return state, worst


@torch.no_grad()
def logits_of(model: Any, batches: list[Any]) -> Any:
    """Log-probabilities of every position that a text has, [positions, vocabulary]."""
    rows = [torch.log_softmax(model(input_ids=ids).logits.double(), -1)[mask] for ids, mask in batches]
    return torch.cat(rows)


def behaviour(source: Any, other: Any, dtype: str) -> dict[str, float]:
    """Mean divergence, and the leads (nats) of best tokens that changed; how many are beyond the margin of the type."""
    kld = (source.exp() * (source - other)).sum(-1)
    best, second = source.topk(2, -1).values.unbind(-1)
    changed = source.argmax(-1) != other.argmax(-1)
    leads = (best - second)[changed].sort(descending=True).values
    mean = float(kld.mean())
    return {
        "positions": len(kld),
        "kld": mean,
        "changed": int(changed.sum()),
        "beyond_margin": int((leads > behaviour_limits(dtype).margin).sum()),
        "largest_lead": float(leads[0]) if len(leads) else 0.0,
        "lead_at_1e-3": float(leads[len(kld) // 1000]) if len(leads) > len(kld) // 1000 else 0.0,
        "perplexity_ratio": float(torch.exp(-(other.max(-1).values - best).mean())),
    }


def texts(encoder: Encoder, count: int) -> list[Any]:
    """(ids, mask) of batches that the training did not see in this order: arithmetic of another seed, all texts."""
    numbers = iter(ArithmeticSampler(99))
    found = []
    for part in range(0, count * BATCH, BATCH):
        documents = [*itertools.islice(numbers, BATCH - 8), *text_documents()[part % 80 : part % 80 + 8]]
        ids, _ = encoder.batch(documents)[:2]
        longest = torch.tensor([len(encoder.ids(d.prompt)) + len(encoder.ids(d.answer)) for d in documents])
        found.append((ids, torch.arange(ids.shape[1])[None] < longest[:, None]))
    return found


def measure(model: Any, batches: list[Any], types: list[str]) -> dict[str, Any]:
    """Encoder -> type -> numbers of one model."""
    reference, original = logits_of(model, batches), {n: t.clone() for n, t in model.state_dict().items()}
    found: dict[str, Any] = {}
    for name, quantiser in quantisers().items():
        for dtype in types:
            made = stored(model, dtype, quantiser)
            if made is None:
                continue
            model.load_state_dict(made[0])
            found.setdefault(name, {})[dtype] = {
                "nmse": made[1],
                **behaviour(reference, logits_of(model, batches), dtype),
            }
            model.load_state_dict(original)
    return found


def main() -> None:
    """Train, measure, print one line a model and write all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--families", nargs="*", default=["tiny-qwen2", *FAMILIES])
    parser.add_argument("--batches", type=int, default=40, help=f"batches of {BATCH} texts that are compared")
    parser.add_argument("--types", nargs="*", default=TYPES)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    encoder = Encoder(transformers.AutoTokenizer.from_pretrained(TINY))
    batches, found = texts(encoder, arguments.batches), {}
    for family in arguments.families:
        if family == "tiny-qwen2":
            model, loss = transformers.AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32), 0.0
        else:
            model = model_of(family)
            loss = train(model, encoder, arguments.steps)
        found[family] = {"loss": loss, "types": measure(model.eval(), batches, arguments.types)}
        print(family, json.dumps(found[family]), flush=True)
        if arguments.output is not None:
            arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
