"""Figures of the codecs: checks of weights against reading memory, K types against the gguf package, conversion.

`--converter FOLDER` (llama.cpp's sources with convert_hf_to_gguf.py, its Python needs installed) adds the conversion.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import measuring
import numpy as np

from pytest_aprqa.formats import value_sums
from pytest_aprqa.formats.blocks import BLOCKS
from pytest_aprqa.formats.codecs import encode
from pytest_aprqa.formats.value_sums import sums_of

CHECK_SHARE, DECODE_RATIO, CONVERSION_RATIO = 0.5, 5.0, 1.0
VALUES = 1 << 26  # 256 MiB of float32: far beyond any cache
BLOCK_VALUES = 1 << 23
ENCODED_VALUES = 1 << 21
REPEATS = 7
CORES = os.cpu_count() or 1
# llama.cpp's converter knows tokenizers by their hash only; the name it would look up is given instead.
THEIR_CONVERTER = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.path.insert(1, sys.argv[1] + "/gguf-py")
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"
sys.argv = ["convert_hf_to_gguf.py", *sys.argv[2:]]
runpy.run_path(sys.path[0] + "/convert_hf_to_gguf.py", run_name="__main__")
"""
OUR_CONVERTER = "from pytest_aprqa.cli.main import main; main()"


def check_of_floats() -> dict[str, float]:
    """Share of the memory read speed (all cores, the largest of 64-bit words) at which weights are checked."""
    values = np.random.default_rng(1).standard_normal(VALUES, dtype=np.float32)
    stored = {"F32": values, "BF16": (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)}
    shares = {}
    for dtype, array in stored.items():
        raw, words = array.view(np.uint8), np.array_split(array.view(np.uint64), CORES * 4)
        with ThreadPoolExecutor(CORES) as pool:
            times = measuring.fastest(
                {
                    "read": lambda words=words, pool=pool: list(pool.map(np.max, words)),
                    "check": lambda raw=raw, dtype=dtype, size=array.size: sums_of(dtype, raw, (size,)),
                },
                REPEATS,
            )
        shares[dtype] = times["read"] / times["check"]
        speed = array.nbytes / times["read"] / 1e9
        print(f"  {dtype}: memory {speed:.1f} GB per processor second, check {shares[dtype]:.2f} of it")
    return shares


def check_of_blocks() -> dict[str, float]:
    """How many times faster decoding and summing is than decoding alone with the gguf package, one thread each."""
    ratios = {}
    for dtype in ("Q4_K", "Q6_K", "Q8_0"):
        width, size = BLOCKS[dtype]
        raw = np.random.default_rng(2).integers(0, 256, (BLOCK_VALUES // width, size), np.uint8)
        raw[:, {"Q4_K": [1, 3], "Q6_K": [209], "Q8_0": [1]}[dtype]] &= 0xBB  # finite scales
        kind = gguf.GGMLQuantizationType[dtype]
        times = measuring.fastest(
            {
                "theirs": lambda raw=raw, kind=kind: gguf.quants.dequantize(raw, kind),
                "ours": lambda raw=raw, dtype=dtype: sums_of(dtype, raw.reshape(-1), (BLOCK_VALUES // 256, 256), 1),
            },
            REPEATS,
        )
        ratios[dtype] = times["theirs"] / times["ours"]
    return ratios


def encoders() -> dict[str, float]:
    """Seconds of one core per 0.5 billion values, for orientation."""
    values = np.random.default_rng(3).normal(0, 0.02, (ENCODED_VALUES // 1024, 1024)).astype(np.float32)
    seconds = {}
    for dtype in ("Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K"):
        start = time.process_time()
        encode(dtype, values)
        seconds[dtype] = (time.process_time() - start) / values.size * 5e8
    return seconds


def write_model(folder: Path, layers: int = 12, hidden: int = 1024, inner: int = 2816) -> None:
    """A random Qwen2 of 136 million BF16 weights with the tokenizer of the bundled model."""
    import torch
    from safetensors.torch import save_file

    bundled = measuring.REPOSITORY / "models" / "tiny-qwen2"
    for path in bundled.iterdir():
        if path.suffix in (".json", ".jinja"):
            shutil.copy(path, folder)
    config = json.loads((bundled / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers}
    config |= {"num_attention_heads": 16, "num_key_value_heads": 4, "layer_types": ["full_attention"] * layers}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> Any:
        return (torch.randn(*shape, generator=generator) * 0.02).bfloat16()

    tensors = {"model.embed_tokens.weight": weights(config["vocab_size"], hidden), "model.norm.weight": weights(hidden)}
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, rows in (("q", hidden), ("k", hidden // 4), ("v", hidden // 4)):
            tensors[f"{at}self_attn.{name}_proj.weight"] = weights(rows, hidden)
            tensors[f"{at}self_attn.{name}_proj.bias"] = weights(rows)
        tensors[f"{at}self_attn.o_proj.weight"] = weights(hidden, hidden)
        tensors[f"{at}mlp.gate_proj.weight"] = weights(inner, hidden)
        tensors[f"{at}mlp.up_proj.weight"] = weights(inner, hidden)
        tensors[f"{at}mlp.down_proj.weight"] = weights(hidden, inner)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = weights(hidden)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def conversion(sources: Path, turns: int) -> dict[str, dict[str, float]]:
    """Ours over llama.cpp's converter, whole commands: wall and processor time. Below 1: ours is faster."""
    result = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "model"
        model.mkdir()
        write_model(model)
        for dtype in ("q8_0", "f16"):
            series = measuring.in_turns(
                {
                    "theirs": lambda dtype=dtype: measuring.run(
                        [
                            "-c",
                            THEIR_CONVERTER,
                            str(sources),
                            str(model),
                            "--outtype",
                            dtype,
                            "--outfile",
                            f"t-{dtype}",
                        ],
                        folder,
                        PYTHONPATH=os.environ.get("PYTHONPATH", ""),
                    ),
                    "ours": lambda dtype=dtype: _convert(folder, model, dtype),
                },
                turns,
            )
            wall = series["ours"].median / series["theirs"].median
            result[dtype] = {
                "wall": wall,
                "processor": series["ours"].median_processor / series["theirs"].median_processor,
            }
            result[dtype]["theirs_s"] = series["theirs"].median
    return result


def _convert(folder: Path, model: Path, dtype: str) -> None:
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    arguments = ["derive", str(model), "--format", "gguf", "--dtype", dtype, "-o", f"o-{dtype}", "--force"]
    measuring.run(["-c", OUR_CONVERTER, *arguments], folder, APRQA_CACHE=str(cache))


def main() -> int:
    """Measure, print, write; exit 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--converter", type=Path, help="folder of llama.cpp's sources")
    parser.add_argument("--only-conversion", action="store_true", help="keep the other figures of the last run")
    parser.add_argument("--turns", type=int, default=3, help="conversions of each kind that count")
    options = parser.parse_args()
    last = measuring.RESULTS / "formats.json"
    if options.only_conversion:
        kept = json.loads(last.read_text(encoding="utf-8"))
        figures = {name: kept[name] for name in ("compiled", "check_share", "decode_ratio", "encode_s")}
        rows, good = [], True
    else:
        figures, rows, good = codecs()
    if options.converter is not None:
        figures["conversion"] = converted = conversion(options.converter.resolve(), options.turns)
        for clock in ("wall", "processor"):
            rows += [
                (f"{clock} time, ours / llama.cpp's converter, {dtype}", f"{one[clock]:.2f}")
                for dtype, one in converted.items()
            ]
        good = good and max(one["processor"] for one in converted.values()) <= CONVERSION_RATIO
    elif last.is_file() and "conversion" in (kept := json.loads(last.read_text(encoding="utf-8"))):
        figures["conversion"] = kept["conversion"]  # of the last run that had the converter
    measuring.show("codecs", rows)
    limits = {"check": CHECK_SHARE, "decode": DECODE_RATIO, "conversion": CONVERSION_RATIO}
    measuring.write("formats", limits=limits, **figures)
    return 0 if good else 1


def codecs() -> tuple[dict[str, Any], list[tuple[str, str]], bool]:
    """Figures of reading and encoding, their rows, and whether they keep their limits."""
    compiled = value_sums._compiled() is not None
    print(f"check of weights, {CORES} cores, {'compiled loops (extra fast)' if compiled else 'numpy alone'}")
    shares, ratios, seconds = check_of_floats(), check_of_blocks(), encoders()
    rows = [(f"check of {dtype} / memory read", f"{share:.2f}") for dtype, share in shares.items()]
    rows += [(f"gguf decode / ours decode + sums, {dtype}", f"{ratio:.1f}") for dtype, ratio in ratios.items()]
    rows += [(f"encode 0.5 billion values as {dtype}", f"{value:.0f} s") for dtype, value in seconds.items()]
    good = (min(shares.values()) >= CHECK_SHARE or not compiled) and min(ratios.values()) >= DECODE_RATIO
    return {"compiled": compiled, "check_share": shares, "decode_ratio": ratios, "encode_s": seconds}, rows, good


if __name__ == "__main__":
    sys.exit(main())
