"""Defects of single GGUF keys that engines obey: special tokens, heads, the label of the file."""

from __future__ import annotations

from typing import Any

from pytest_aprqa.defects import origins
from pytest_aprqa.defects.declarations import add_gguf, edit_gguf, other_end_token, remove_gguf, retype_gguf, set_gguf
from pytest_aprqa.defects.defect import Defect
from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.tensor_operations import Operation

TYPES = "tokenizer.ggml.token_type"
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
Q8_0_LABEL = 7  # general.file_type of a Q8_0 file (llama.h)


def _defect(name: str, gateway: str, title: str, operation: Operation, origin: str) -> Defect:
    return Defect(f"gguf-{name}", title, origin, "gguf", gateway, operation)


def _retype(kind: int, *, all_of_them: bool) -> Operation:
    """Give the last control token, or all of them, another type."""

    def change(types: Any) -> Any:
        control = [number for number, one in enumerate(types) if one == CONTROL]
        if not control:
            raise DefectNotApplicableError(TYPES, "control tokens", "the tokenizer has none")
        chosen = set(control if all_of_them else control[-1:])
        return [kind if number in chosen else one for number, one in enumerate(types)]

    return edit_gguf(TYPES, change)


DEFECTS: tuple[Defect, ...] = (
    _defect(
        "turn-token-normal",
        "I-5",
        "one control token is typed as normal text",
        _retype(NORMAL, all_of_them=False),
        origins.TURN_TOKENS,
    ),
    _defect(
        "control-tokens-user-defined",
        "I-5",
        "control tokens are typed as user-defined ones, which engines show",
        _retype(USER_DEFINED, all_of_them=True),
        origins.SHOWN_CONTROL,
    ),
    _defect(
        "begin-token-wrong",
        "I-5",
        "BOS is token 11",
        edit_gguf("tokenizer.ggml.bos_token_id", lambda number: 11 if number != 11 else 12),
        origins.WRONG_BEGIN,
    ),
    _defect(
        "end-token-lost",
        "I-5",
        "no end token is declared",
        remove_gguf("tokenizer.ggml.eos_token_id"),
        origins.EOS_LOST,
    ),
    _defect(
        "rotated-part-wrong",
        "G0",
        "half of each head rotates",
        edit_gguf("{arch}.rope.dimension_count", lambda count: count // 2),
        origins.ROTATED_PART,
    ),
    _defect(
        "value-length-wrong",
        "G0",
        "values of a head are declared twice as long",
        edit_gguf("{arch}.attention.value_length", lambda length: 2 * length),
        origins.HEAD_KEYS,
    ),
    _defect(
        "label-wrong",
        "I-3",
        "general.file_type says Q8_0 where no tensor is",
        set_gguf("general.file_type", Q8_0_LABEL),
        origins.OTHER_LABEL,
    ),
    _defect(
        "count-retyped",
        "G0",
        "the number of layers is written in 64 bits",
        retype_gguf("{arch}.block_count", "uint64"),
        origins.KEY_TYPE,
    ),
    _defect(
        "epsilon-missing",
        "G0",
        "the norm epsilon is not written",
        remove_gguf("{arch}.attention.layer_norm_rms_epsilon"),
        origins.KEY_MISSING,
    ),
    _defect(
        "vocabulary-kind-missing",
        "G0",
        "the kind of vocabulary is not written",
        remove_gguf("tokenizer.ggml.model"),
        origins.KEY_MISSING,
    ),
    _defect(
        "rope-factor-without-type",
        "G0",
        "a rotary factor of 4 without a type, which engines take for linear scaling",
        add_gguf(("{arch}.rope.scaling.factor", "float32", 4.0)),
        origins.FACTOR_WITHOUT_TYPE,
    ),
    _defect(
        "end-token-of-base-model",
        "I-5",
        "EOS is another end token, as of the base model",
        other_end_token,
        origins.BASE_END,
    ),
)
