"""A tokenizer as its file declares it, and the `tokenizers` object built from exactly that declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.pre_tokenizers import NAME_OF_PATTERN, PATTERNS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED = 1, 2, 3, 4, 5
# Control tokens that end a generation whatever the eos id says; llama.cpp treats the same names as end of generation.
END_NAMES = frozenset(
    {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "</s>", "<end_of_turn>", "<|end|>", "<|eom_id|>"}
)
LARGEST_JSON = 256 << 20


@dataclass(frozen=True)
class TokenizerDeclaration:
    """Everything a file says about its tokenizer. `tokens[id]` is the token text, `merges` are "left right"."""

    path: Path
    tokens: list[str]
    token_types: list[int]
    merges: list[str]
    pre_tokenizer: str
    bos_id: int | None
    eos_id: int | None
    end_ids: frozenset[int]
    add_bos: bool
    chat_template: str | None
    hf_json: str | None = field(default=None, repr=False)

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.tokens)

    @property
    def bos_token(self) -> str | None:
        """Text of the token that begins a text."""
        return self.tokens[self.bos_id] if self.bos_id is not None else None

    @property
    def eos_token(self) -> str | None:
        """Text of the token that ends a text."""
        return self.tokens[self.eos_id] if self.eos_id is not None else None

    @cached_property
    def built(self) -> Any:
        """The `tokenizers.Tokenizer`, built once. ModelError for a declaration that cannot be built."""
        return self.build()

    def build(self) -> Any:
        """A new `tokenizers.Tokenizer` from this declaration."""
        from tokenizers import Tokenizer

        if self.hf_json is not None:
            try:
                tokenizer = Tokenizer.from_str(self.hf_json)
            except Exception as error:  # the Rust library raises plain Exception
                raise ModelError(self.path, "tokenizer.json", f"cannot be built: {error}") from None
            tokenizer.no_truncation()
            # Padding saved from a training run is no part of a prompt; a huge one would abort this process.
            tokenizer.no_padding()
            return tokenizer
        return self._byte_level_bpe()

    def _byte_level_bpe(self) -> Any:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

        if self.pre_tokenizer not in PATTERNS:
            raise ModelError(
                self.path, "pre-tokenizer", "unknown name", found=self.pre_tokenizer, limit=", ".join(PATTERNS)
            )
        special = {i for i, kind in enumerate(self.token_types) if kind in (CONTROL, USER_DEFINED)}
        unused = {i for i, kind in enumerate(self.token_types) if kind == UNUSED}
        vocabulary = {token: i for i, token in enumerate(self.tokens) if i not in unused}
        if len(vocabulary) != len(self.tokens) - len(unused):
            raise ModelError(self.path, "tokens", "a token occurs twice")
        merges = []
        for number, merge in enumerate(self.merges):
            left, _, right = merge.partition(" ")
            if left not in vocabulary or right not in vocabulary or left + right not in vocabulary:
                raise ModelError(
                    self.path, f"merge {number}", "names a token that is not in the vocabulary", found=merge
                )
            merges.append((left, right))
        if not merges:
            raise ModelError(
                self.path, "merges", "the tokenizer has no merges", advice="convert again with the whole tokenizer"
            )
        tokenizer = Tokenizer(
            models.BPE(vocab=vocabulary, merges=merges, ignore_merges=self.pre_tokenizer == "llama-bpe")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(PATTERNS[self.pre_tokenizer]), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        for kind, is_special in ((CONTROL, True), (USER_DEFINED, False)):
            chosen = [self.tokens[i] for i in sorted(special) if self.token_types[i] == kind]
            tokenizer.add_tokens([AddedToken(t, special=is_special, normalized=False) for t in chosen])
        return tokenizer

    def encode(self, text: str, add_special: bool = True) -> list[int]:
        """Ids of a text; special tokens written in the text are parsed; a declared BOS is added unless present."""
        ids: list[int] = self.built.encode(text, add_special_tokens=add_special and self.hf_json is not None).ids
        if (
            add_special
            and self.hf_json is None
            and self.add_bos
            and self.bos_id is not None
            and ids[:1] != [self.bos_id]
        ):
            ids = [self.bos_id, *ids]
        return ids

    def decode(self, ids: list[int], skip_special: bool = True) -> str:
        """Text of ids."""
        text: str = self.built.decode(list(ids), skip_special_tokens=skip_special)
        return text


def tokenizer_from_hf(folder: Path) -> TokenizerDeclaration:
    """Read tokenizer.json, tokenizer_config.json, generation_config.json and the chat template of a folder."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            path, "file", "the tokenizer is missing", advice="fetch tokenizer.json of the model (hf download)"
        )
    if path.stat().st_size > LARGEST_JSON:
        raise ModelError(path, "file", "is too large", found=path.stat().st_size, limit=LARGEST_JSON)
    text = _read(path)
    document = _parse(path, text)
    settings = _optional(folder / "tokenizer_config.json")
    tokens, types = _hf_tokens(path, document)
    index = {token: i for i, token in enumerate(tokens)}
    merges = [m if isinstance(m, str) else " ".join(m) for m in document["model"].get("merges", [])]
    if document["model"].get("type", "BPE") == "BPE" and not merges:
        raise ModelError(path, "model.merges", "the tokenizer has no merges", advice="fetch the whole tokenizer again")
    template = settings.get("chat_template")
    template_file = folder / "chat_template.jinja"
    if template_file.is_file():
        template = _read(template_file)
    eos, bos = _token_id(settings, "eos_token", index), _token_id(settings, "bos_token", index)
    generation, config = _optional(folder / "generation_config.json"), _optional(folder / "config.json")
    declared = _ids(generation.get("eos_token_id")) or _ids(config.get("eos_token_id"))
    if eos is None and declared:
        eos = declared[0]
    if bos is None:
        bos = next(iter(_ids(generation.get("bos_token_id")) or _ids(config.get("bos_token_id"))), None)
    declaration = TokenizerDeclaration(
        path=path,
        tokens=tokens,
        token_types=types,
        merges=merges,
        pre_tokenizer=_pattern_name(document),
        bos_id=bos if bos is not None and bos < len(tokens) else None,
        eos_id=eos if eos is not None and eos < len(tokens) else None,
        end_ids=_end_ids(tokens, types, [*declared, *([eos] if eos is not None else [])]),
        add_bos=False,
        chat_template=template if isinstance(template, str) else None,
        hf_json=text,
    )
    begins = declaration.built.encode("a", add_special_tokens=True).ids
    object.__setattr__(declaration, "add_bos", declaration.bos_id is not None and begins[:1] == [declaration.bos_id])
    return declaration


def _hf_tokens(path: Path, document: dict[str, Any]) -> tuple[list[str], list[int]]:
    model = document.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, (dict, list)) or not vocabulary:
        raise ModelError(path, "model.vocab", "is missing or empty", advice="fetch tokenizer.json again")
    by_id: dict[int, str] = {}
    if isinstance(vocabulary, dict):
        by_id = {i: t for t, i in vocabulary.items()}
    else:
        by_id = {i: pair[0] for i, pair in enumerate(vocabulary)}
    kinds: dict[int, int] = {}
    for added in document.get("added_tokens") or []:
        by_id[added["id"]] = added["content"]
        kinds[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    size = max(by_id) + 1
    if size > 4 * len(by_id) + 1024:
        raise ModelError(path, "token ids", "have a large gap", found=size, limit=4 * len(by_id) + 1024)
    tokens = [by_id.get(i, f"[UNUSED{i}]") for i in range(size)]
    types = [kinds.get(i, NORMAL) if i in by_id else UNUSED for i in range(size)]
    return tokens, types


def _pattern_name(document: dict[str, Any]) -> str:
    text = json.dumps(document.get("pre_tokenizer"))
    parts = (document.get("pre_tokenizer") or {}).get("pretokenizers") or [document.get("pre_tokenizer") or {}]
    for part in parts:
        pattern = part.get("pattern") if isinstance(part, dict) else None
        regex = pattern.get("Regex") if isinstance(pattern, dict) else None
        if regex in NAME_OF_PATTERN:
            return NAME_OF_PATTERN[regex]
        if regex is not None:
            return "unknown"
    return "gpt-2" if "ByteLevel" in text else "unknown"


def _end_ids(tokens: list[str], types: list[int], declared: list[int]) -> frozenset[int]:
    named = {i for i, t in enumerate(tokens) if types[i] in (CONTROL, USER_DEFINED) and t in END_NAMES}
    return frozenset(named | set(declared))


def _token_id(settings: dict[str, Any], name: str, index: dict[str, int]) -> int | None:
    value = settings.get(name)
    text = value.get("content") if isinstance(value, dict) else value
    return index.get(text) if isinstance(text, str) else None


def _ids(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [v for v in values if isinstance(v, int) and not isinstance(v, bool) and v >= 0]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(path, "file", f"cannot be read: {error}") from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(path, "file", f"is not JSON: {error}", advice="fetch the file again") from None
    if not isinstance(document, dict):
        raise ModelError(path, "file", "is not a JSON object", found=type(document).__name__)
    return document


def _optional(path: Path) -> dict[str, Any]:
    return _parse(path, _read(path)) if path.is_file() else {}


def tokenizer_from_gguf(path: Path, metadata: Mapping[str, Any]) -> TokenizerDeclaration:
    """Read `tokenizer.ggml.*` of a GGUF file."""
    return _from_keys(
        path,
        tokens=metadata.get("tokenizer.ggml.tokens"),
        types=metadata.get("tokenizer.ggml.token_type"),
        merges=metadata.get("tokenizer.ggml.merges"),
        pre=metadata.get("tokenizer.ggml.pre", "default"),
        ids={n: metadata.get(f"tokenizer.ggml.{n}_token_id") for n in ("bos", "eos", "eot", "eom")},
        add_bos=metadata.get("tokenizer.ggml.add_bos_token"),
        template=metadata.get("tokenizer.chat_template"),
    )


def tokenizer_from_apr(path: Path, metadata: Mapping[str, Any]) -> TokenizerDeclaration:
    """Read `tokenizer.*` of APR metadata; the template from either key (apr-format 7)."""
    return _from_keys(
        path,
        tokens=metadata.get("tokenizer.vocabulary"),
        types=metadata.get("tokenizer.token_type"),
        merges=metadata.get("tokenizer.merges"),
        pre=metadata.get("tokenizer.pre_type") or _pre_of(metadata),
        ids={n: metadata.get(f"tokenizer.{n}_token_id") for n in ("bos", "eos")},
        add_bos=metadata.get("tokenizer.add_bos_token", False),
        template=metadata.get("tokenizer.chat_template") or metadata.get("chat_template"),
    )


def _pre_of(metadata: Mapping[str, Any]) -> str:
    return "qwen2" if str(metadata.get("architecture", "")).startswith("qwen") else "default"


def _from_keys(
    path: Path, *, tokens: Any, types: Any, merges: Any, pre: Any, ids: Mapping[str, Any], add_bos: Any, template: Any
) -> TokenizerDeclaration:
    advice = "convert again with the whole tokenizer"
    if not isinstance(tokens, list) or not tokens:
        raise ModelError(path, "tokenizer", "the tokenizer is missing", advice=advice)
    if not all(isinstance(t, str) for t in tokens):
        raise ModelError(path, "tokenizer tokens", "an entry is not text", advice=advice)
    if types is None:
        types = [CONTROL if t.startswith("<|") and t.endswith("|>") and len(t) > 4 else NORMAL for t in tokens]
    if len(types) != len(tokens):
        raise ModelError(path, "tokenizer token types", "differ in number", found=len(types), limit=len(tokens))
    if not merges:
        raise ModelError(path, "tokenizer merges", "the tokenizer has no merges", advice=advice)
    for name, value in ids.items():
        if value is not None and (not isinstance(value, int) or not 0 <= value < len(tokens)):
            raise ModelError(
                path, f"tokenizer {name} id", "is outside the vocabulary", found=value, limit=len(tokens) - 1
            )
    ends = [v for n, v in ids.items() if n != "bos" and v is not None]
    return TokenizerDeclaration(
        path=path,
        tokens=list(tokens),
        token_types=[int(t) for t in types],
        merges=[str(m) for m in merges],
        pre_tokenizer=str(pre),
        bos_id=ids.get("bos"),
        eos_id=ids.get("eos"),
        end_ids=_end_ids(list(tokens), list(types), ends),
        # llama.cpp adds BOS to gpt2-style vocabularies only when told to.
        add_bos=bool(add_bos),
        chat_template=template if isinstance(template, str) and template else None,
    )
