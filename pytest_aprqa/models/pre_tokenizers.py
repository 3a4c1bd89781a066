"""Split patterns by the names that GGUF files declare (`tokenizer.ggml.pre`), as llama.cpp defines them."""

from __future__ import annotations

from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
_AFTER_NUMBERS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _AFTER_NUMBERS
_QWEN2 = _CONTRACTIONS + r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _AFTER_NUMBERS
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SINGLE_DIGITS = (r"\p{N}", _GPT2)

# Name -> patterns that split a text one after the other. `default` is what llama.cpp does with a file that names none.
PATTERNS: dict[str, tuple[str, ...]] = {
    "qwen2": (_QWEN2,),
    "deepseek-r1-qwen": (_QWEN2,),
    "stablelm2": (_QWEN2,),
    "gpt-2": (_GPT2,),
    "phi-2": (_GPT2,),
    "mpt": (_GPT2,),
    "olmo": (_GPT2,),
    "llama-bpe": (_LLAMA3,),
    "llama3": (_LLAMA3,),
    "llama-v3": (_LLAMA3,),
    "falcon3": (_LLAMA3,),
    "smaug-bpe": (_LLAMA3,),
    "smollm": _SINGLE_DIGITS,
    "starcoder": _SINGLE_DIGITS,
    "refact": _SINGLE_DIGITS,
    "command-r": _SINGLE_DIGITS,
    "codeshell": _SINGLE_DIGITS,
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"),
}
# A piece that is a token as a whole is not put together by merges; without a declared policy BOS is added.
WHOLE_TOKENS_FIRST = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3"})
UNKNOWN = "unknown"
_NAMES = {(_QWEN2,): "qwen2", (_GPT2,): "gpt-2", (_LLAMA3,): "llama-bpe", _SINGLE_DIGITS: "smollm"}


def name_of(pre_tokenizer: Any) -> str:
    """Name of a `pre_tokenizer` of tokenizer.json (decoded), `unknown` where no name means the same splits."""
    parts = pre_tokenizer.get("pretokenizers") if isinstance(pre_tokenizer, dict) else None
    patterns: list[str] = []
    byte_level = False
    for step in parts if isinstance(parts, list) else [pre_tokenizer]:
        kind = step.get("type") if isinstance(step, dict) else None
        if kind == "Split" and step.get("behavior") == "Isolated" and not step.get("invert"):
            pattern = step.get("pattern")
            patterns.append(str(pattern.get("Regex")) if isinstance(pattern, dict) else "")
        elif kind == "Digits" and step.get("individual_digits"):
            patterns.append(r"\p{N}")
        elif kind == "ByteLevel" and not step.get("add_prefix_space"):
            byte_level = True
            if step.get("use_regex", True):
                patterns.append(_GPT2)
        else:
            return UNKNOWN
    return _NAMES.get(tuple(patterns), UNKNOWN) if byte_level else UNKNOWN
