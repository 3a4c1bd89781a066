"""The shape of a random model: every dimension and declaration that a converter or a gate may get wrong."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")  # those that can be written in all three formats
# Families whose tensors and declarations are known; our converters write no GGUF of them.
OTHER_FAMILIES = ("gemma", "gemma2", "phi3", "falcon", "starcoder2")
# Those of them whose heads fill the hidden size: most declare no size of a head.
WHOLE_HEADS = ("gemma2", "phi3", "falcon", "starcoder2")
DTYPES = ("F32", "F16", "BF16")
TEMPLATES = ("chatml", "headers", "none")
# Split patterns by the names of GGUF; each is the first name of its patterns, so that it is read back the same.
PRE_TOKENIZERS = ("qwen2", "gpt-2", "llama-bpe", "smollm", "qwen35", "tekken", "gpt-4o", "deepseek-llm", "deepseek-v3")
HEADS = ((1, 1), (2, 1), (2, 2), (3, 1), (4, 2), (4, 4), (6, 3), (6, 2), (8, 2))
# Elements in a row: odd ones, those of whole blocks of 32 and of 256, and their neighbours.
ROWS = (8, 17, 31, 32, 33, 48, 63, 64, 65, 96, 100, 255, 256, 257)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Counts, and words from the tuples of this module. `heads` and `kv_heads`: query and key-value heads.

    `merges`: tokens besides bytes and specials; `extra_rows`: embedding rows that no token has; `plain_vectors`: norms
    and biases are stored as F32 whatever `dtype` is; `shards`: weight files.
    """

    family: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    tied: bool
    dtype: str
    plain_vectors: bool
    shards: int
    pre_tokenizer: str
    merges: int
    extra_rows: int
    specials_first: bool
    add_bos: bool
    template: str
    template_file: bool
    rope_theta: float
    rms_norm_eps: float
    positions: int

    def __post_init__(self) -> None:
        """Refuse what is no model. ValueError: the field, its value and its limit."""
        allowed = {
            "family": FAMILIES + OTHER_FAMILIES,
            "dtype": DTYPES,
            "template": TEMPLATES,
            "pre_tokenizer": PRE_TOKENIZERS,
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise ValueError(f"{name}: found {getattr(self, name)!r}, limit {', '.join(words)}")
        for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "shards", "merges"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, limit 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads: found {self.heads}, limit a multiple of kv_heads {self.kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim: found {self.head_dim}, limit an even number: rotation takes pairs")
        if self.family == "falcon" and self.kv_heads != 1:
            raise ValueError(f"kv_heads: found {self.kv_heads}, limit 1 of falcon")
        if self.family in WHOLE_HEADS and self.hidden != self.heads * self.head_dim:
            raise ValueError(f"hidden: found {self.hidden}, limit heads x head_dim of {self.family}")
        if self.extra_rows < 0:
            raise ValueError(f"extra_rows: found {self.extra_rows}, limit 0")


def random_shape(seed: int, **fixed: Any) -> ModelShape:
    """The shape of `seed`: equal seeds give equal shapes, `fixed` sets fields and leaves the others as they are.

    A field that is fixed to half of what it depends on (heads without kv_heads) may contradict the rest: ValueError.
    """
    draw = random.Random(seed)  # noqa: S311 - repeatable on purpose
    heads, kv_heads = draw.choice(HEADS)
    head_dim = draw.choice((2, 4, 8, 10, 16, 32))
    hidden = draw.choice((heads * head_dim, draw.choice(ROWS)))
    shape = ModelShape(
        family=draw.choice(FAMILIES),
        layers=draw.randint(1, 3),
        hidden=hidden,
        intermediate=draw.choice(ROWS),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        tied=draw.random() < 0.5,
        dtype=draw.choice(DTYPES),
        plain_vectors=draw.random() < 0.3,
        shards=draw.choice((1, 1, 2, 3)),
        pre_tokenizer=draw.choice(PRE_TOKENIZERS),
        merges=draw.randint(1, 90),
        extra_rows=draw.choice((0, 0, 1, 7, 64)),
        specials_first=draw.random() < 0.5,
        add_bos=draw.random() < 0.4,
        template=draw.choice(TEMPLATES),
        template_file=draw.random() < 0.5,
        rope_theta=draw.choice((10000.0, 500000.0, 1000000.0)),
        rms_norm_eps=draw.choice((1e-6, 1e-5)),
        positions=draw.choice((128, 500, 4096)),
    )
    if fixed.get("family") in WHOLE_HEADS:
        shape = dataclasses.replace(shape, hidden=heads * head_dim)
    if fixed.get("family") == "falcon":
        shape = dataclasses.replace(shape, kv_heads=1)
    return dataclasses.replace(shape, **fixed)
