"""Tiny random models in Hugging Face layout, made on the fly, for the tests of every room.

Two shapes on purpose: Qwen2 (tied head, biases, Qwen2 pre-tokenizer, no BOS) and Llama (untied head, no biases, other
head counts, GPT-2 style pre-tokenizer, BOS). Treat the folders as read-only: copy before you change anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>' "
    "+ '\\n\\n' + message['content'] + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
TEXTS = [
    "What is 2+2? The answer is 4. What is 12 + 30? The answer is 42.",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return fibonacci(n - 1) + fibonacci(n - 2)\n",
    "Hello, how are you today? I'm fine, thank you. It's a fine day, isn't it?",
    "The quick brown fox jumps over the lazy dog, then the lazy dog jumps over the fox.",
    "Größe, naïve café, 你好世界, здравствуй мир; 10 000 tokens and 3.14159 more.",
]
PROMPTS = [
    "What is 2+2?",
    "def fibonacci(n):\n    return",
    "Hello,  how's the café? 12345\n\n你好",
    " leading space and\ttabs",
]
QWEN2_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA_SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]

QWEN2_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": True,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}
LLAMA_CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}


@pytest.fixture(scope="session")
def random_qwen2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Qwen2: hidden 64, 3 layers, 4/2 heads, tied, biases, BF16. Read-only by agreement."""
    return write_random_qwen2(tmp_path_factory.mktemp("models") / "random-qwen2")


@pytest.fixture(scope="session")
def random_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama: hidden 96, 2 layers, 6/3 heads, untied, BOS, BF16. Read-only by agreement."""
    return write_random_llama(tmp_path_factory.mktemp("models") / "random-llama")


def write_random_qwen2(
    folder: Path,
    *,
    seed: int = 20,
    dtype: str = "BF16",
    extra_rows: int = 0,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write the Qwen2 shape below `folder` (created) and return it. `dtype`: F32, F16 or BF16.

    `extra_rows`: embedding rows more than the tokenizer has tokens; `changes`: fields of config.json to set.
    """
    tokenizer = _train_tokenizer(QWEN2_SPECIAL, qwen2=True)
    end = tokenizer.token_to_id("<|im_end|>")
    pad = tokenizer.token_to_id("<|endoftext|>")
    rows = tokenizer.get_vocab_size() + extra_rows
    config = {**QWEN2_CONFIG, "vocab_size": rows, "bos_token_id": pad, "eos_token_id": end, **(changes or {})}
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_bos_token": False,
        "bos_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": CHATML_TEMPLATE,
    }
    generation = {"eos_token_id": [end, pad], "pad_token_id": pad, "do_sample": False}
    return _write_folder(folder, config, tokenizer, settings, generation, seed, dtype)


def write_random_llama(
    folder: Path,
    *,
    seed: int = 21,
    dtype: str = "BF16",
    extra_rows: int = 0,
    changes: dict[str, Any] | None = None,
) -> Path:
    """Write the Llama shape below `folder` (created) and return it. Options as `write_random_qwen2`."""
    tokenizer = _train_tokenizer(LLAMA_SPECIAL, qwen2=False)
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    end, turn = tokenizer.token_to_id("<|end_of_text|>"), tokenizer.token_to_id("<|eot_id|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A",
                pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1",
                special_tokens=[("<|begin_of_text|>", bos)],
            ),
        ]
    )
    rows = tokenizer.get_vocab_size() + extra_rows
    config = {**LLAMA_CONFIG, "vocab_size": rows, "bos_token_id": bos, "eos_token_id": end, **(changes or {})}
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|end_of_text|>",
        "chat_template": LLAMA_TEMPLATE,
    }
    generation = {"bos_token_id": bos, "eos_token_id": [end, turn], "do_sample": False}
    return _write_folder(folder, config, tokenizer, settings, generation, seed, dtype)


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """HF names and shapes of the weights that `config` (a config.json mapping) asks for."""
    hidden, inter, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    q_rows, kv_rows = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden)}
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        shapes[prefix + "input_layernorm.weight"] = (hidden,)
        shapes[prefix + "mlp.down_proj.weight"] = (hidden, inter)
        shapes[prefix + "mlp.gate_proj.weight"] = (inter, hidden)
        shapes[prefix + "mlp.up_proj.weight"] = (inter, hidden)
        shapes[prefix + "post_attention_layernorm.weight"] = (hidden,)
        for role, rows in (("q", q_rows), ("k", kv_rows), ("v", kv_rows)):
            shapes[f"{prefix}self_attn.{role}_proj.weight"] = (rows, hidden)
            if config["model_type"] == "qwen2":
                shapes[f"{prefix}self_attn.{role}_proj.bias"] = (rows,)
        shapes[prefix + "self_attn.o_proj.weight"] = (hidden, q_rows)
    shapes["model.norm.weight"] = (hidden,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    return shapes


def write_plain_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str) -> None:
    """Independent writer (not the product's): float32 arrays stored as F32, F16 or BF16 in the order given."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    pieces, offset = [], 0
    for name, array in tensors.items():
        data = _as_bytes(array, dtype)
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(data)]}
        pieces.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(pieces))


def _as_bytes(array: np.ndarray, dtype: str) -> bytes:
    values = np.ascontiguousarray(array, dtype=np.float32)
    if dtype == "F32":
        return values.tobytes()
    if dtype == "F16":
        return values.astype(np.float16).tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def _random_tensors(config: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in tensor_shapes(config).items():
        values = generator.standard_normal(shape).astype(np.float32)
        if "norm" in name:
            tensors[name] = 1.0 + 0.1 * values
        elif name.endswith("bias"):
            tensors[name] = 0.2 * values
        else:
            tensors[name] = values * (1.0 if "embed" in name else 2.0 / np.sqrt(shape[-1]))
    return tensors


def _train_tokenizer(special: list[str], *, qwen2: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if qwen2:
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(QWEN2_PATTERN), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=(352 if qwen2 else 336) - len(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS * 2, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _write_folder(
    folder: Path,
    config: dict[str, Any],
    tokenizer: Tokenizer,
    settings: dict[str, Any],
    generation: dict[str, Any],
    seed: int,
    dtype: str,
) -> Path:
    folder.mkdir(parents=True)
    config = {**config, "torch_dtype": {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]}
    write_plain_safetensors(folder / "model.safetensors", _random_tensors(config, seed), dtype)
    tokenizer.save(str(folder / "tokenizer.json"))
    documents = {"config.json": config, "tokenizer_config.json": settings, "generation_config.json": generation}
    for name, document in documents.items():
        (folder / name).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return folder
