"""What Hypothesis draws for `--falsify-invariants`: a shape, a seed, a format, a stored type and perhaps a defect."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pytest_aprqa.defects.catalogue import DEFECTS
from pytest_aprqa.lifecycle.tensor_types import DTYPES as STORED
from pytest_aprqa.random_models.shape import DTYPES, FAMILIES, HEADS, PRE_TOKENIZERS, ROWS, TEMPLATES

Example = dict[str, Any]
FORMATS = ("gguf", "apr")
# The engine holds a model to its source's text; a type of a few bits changes it, rightly.
WHOLE_BLOCKS = {"hidden": 256, "intermediate": 256, "heads": 8, "kv_heads": 2, "head_dim": 32}
# Defects that store a matrix in another type need rows of whole blocks of 32.
PLANTED_SIZES = (
    {"hidden": 32, "intermediate": 64, "heads": 2, "kv_heads": 1, "head_dim": 16},
    {"hidden": 64, "intermediate": 32, "heads": 4, "kv_heads": 2, "head_dim": 32},
    {"hidden": 96, "intermediate": 96, "heads": 3, "kv_heads": 3, "head_dim": 32},
)
# The limits of NMSE were measured on large matrices: of a few dozen values the error may be twice as large by chance.
MEASURED = {"hidden": 64, "intermediate": 64, "head_dim": 16}
PLAIN = ("native", "f32", "f16", "bf16")


def shapes() -> st.SearchStrategy[dict[str, Any]]:
    """Fields of ModelShape; what comes first in a list is what a counter-example shrinks to."""
    row = st.one_of(st.sampled_from(ROWS), st.integers(4, 300))
    fields: dict[str, st.SearchStrategy[Any]] = {
        "family": st.sampled_from(FAMILIES),
        "layers": st.integers(1, 3),
        "hidden": row,
        "intermediate": row,
        "head_dim": st.sampled_from((2, 4, 8, 10, 16, 32)),
        "tied": st.booleans(),
        "dtype": st.sampled_from(DTYPES),
        "plain_vectors": st.booleans(),
        "shards": st.integers(1, 3),
        "pre_tokenizer": st.sampled_from(PRE_TOKENIZERS),
        "merges": st.integers(1, 90),
        "extra_rows": st.sampled_from((0, 1, 7, 64)),
        "specials_first": st.booleans(),
        "add_bos": st.booleans(),
        "template": st.sampled_from(TEMPLATES),
        "template_file": st.booleans(),
    }

    def with_heads(drawn: tuple[tuple[int, int], dict[str, Any]]) -> dict[str, Any]:
        (heads, kv_heads), values = drawn
        return {"heads": heads, "kv_heads": kv_heads, **values}

    return st.tuples(st.sampled_from(HEADS), st.fixed_dictionaries(fields)).map(with_heads)


def examples(invariant: str, *, planted: bool) -> st.SearchStrategy[Example]:
    """Examples as plain data: seed, shape, format, dtype, defect (name or None)."""
    if planted:
        found = [d for d in DEFECTS.values() if d.gateway == invariant and d.format in FORMATS]
        targets: list[dict[str, str | None]] = [
            {"format": d.format, "dtype": d.base or "native", "defect": d.name} for d in found
        ]
    else:
        kinds = {name: PLAIN if invariant == "I-1" else STORED[name] for name in FORMATS}
        targets = [{"format": n, "dtype": d, "defect": None} for n in FORMATS for d in kinds[n] if d in STORED[n]]

    def joined(drawn: tuple[int, dict[str, Any], dict[str, Any]]) -> Example:
        seed, shape, target = drawn
        if planted:  # id 0 must be an ordinary token: as the end token it is a planted fault
            shape = {**shape, **PLANTED_SIZES[seed % len(PLANTED_SIZES)], "specials_first": False}
            shape["merges"] = max(shape["merges"], 60)  # one merge in reverse order is the same merge
            if str(target["defect"]).endswith("add-bos-wrong"):
                shape["add_bos"] = False  # else the planted policy is the right one
        elif invariant == "I-4":
            shape = {**shape, **{name: max(shape[name], least) for name, least in MEASURED.items()}}
        if planted and target["dtype"] != "native":  # defects of quantised blocks need rows that are whole blocks
            shape = {**shape, **WHOLE_BLOCKS}
        return {"seed": seed, "shape": shape, **target}

    return st.tuples(st.integers(0, 2**16), shapes(), st.sampled_from(targets)).map(joined)
