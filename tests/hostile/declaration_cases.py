"""Hostile companions of the weights: config.json, tokenizer.json, generation_config.json, chat templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.lifecycle.source import open_source
from pytest_aprqa.models.chat_template import render_chat
from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.models.families import integrity_problems, layout_problems
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from pytest_aprqa.random_models import random_model_folder
from tests.hostile.case import Case

WHERE = "companions of downloaded models"
SANDBOX = "resources that Jinja's sandbox does not bound"
ESCAPE = "CVE-2024-34359 (llama-cpp-python), CVE-2026-5760 (SGLang)"
SECONDS = 1.0  # time limit of one rendering in these cases
TINY = {"hidden": 8, "intermediate": 9, "heads": 2, "kv_heads": 1, "head_dim": 4, "layers": 1, "merges": 3, "shards": 1}


def replaced(name: str, change: Callable[[Any], Any] | bytes) -> Callable[[Path], Path]:
    """Build: a sound folder in which one JSON file is other bytes, or is changed."""

    def build(folder: Path) -> Path:
        random_model_folder(folder, 4, **TINY)
        path = folder / name
        if isinstance(change, bytes):
            path.write_bytes(change)
            return folder
        document = json.loads(path.read_text())
        path.write_text(json.dumps(change(document)))
        return folder

    return build


def setting(*keys: Any, value: Any) -> Callable[[Any], Any]:
    """Change: the place below `keys` holds `value`."""

    def change(document: Any) -> Any:
        holder = document
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = value
        return document

    return change


def read_config(folder: Path) -> None:
    config_from_hf(folder)


def read_tokenizer(folder: Path) -> None:
    tokenizer = tokenizer_from_hf(folder)
    tokenizer.decode(tokenizer.encode("Hello 12"))


def compare(folder: Path) -> None:
    """Declarations against tensors; a contradiction is raised as one line."""
    with open_source(folder) as source:
        shapes = {name: entry.shape for name, entry in source.weights.entries.items()}
        problems = [*integrity_problems(source.config, shapes), *map(str, layout_problems(source.config, shapes))]
    if problems:
        raise ModelError(folder, "", "; ".join(problems))


def convert_vocabulary(folder: Path) -> None:
    from pytest_aprqa.lifecycle.vocabulary import vocabulary_of

    with open_source(folder) as source:
        vocabulary_of(source)


def render(template: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        render_chat(f"{{# {path} #}}", [])  # the process of the case before may have ended
        render_chat(template, [{"role": "user", "content": "x"}], seconds=SECONDS, path=path)

    return read


def config(name: str, what: str, change: Any, words: str, number: int | None = None, read: Any = read_config) -> Case:
    return Case(number, f"config-{name}", what, WHERE, words, replaced("config.json", change), read)


def tokenizer(name: str, what: str, change: Any, words: str) -> Case:
    return Case(None, f"tokenizer-{name}", what, WHERE, words, replaced("tokenizer.json", change), read_tokenizer)


def generation(name: str, what: str, change: Any, words: str) -> Case:
    return Case(None, f"generation-{name}", what, WHERE, words, replaced("generation_config.json", change),
                read_tokenizer)  # fmt: skip


def template(name: str, what: str, text: str, words: str, origin: str = SANDBOX) -> Case:
    place = "chat_template.jinja"
    return Case(43, f"template-{name}", what, origin, words, lambda folder: folder / place, render(text), SECONDS + 4)


DEEP = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
CASES = [
    config("not-json", "a configuration that breaks off", b'{"hidden_size": 8', "parse error"),
    config("not-utf8", "a configuration that is not UTF-8", b'{"model_type":"\xff"}', "parse error"),
    config("deep", "JSON of 200,000 levels", DEEP, "parse error"),
    config("list", "a list instead of an object", b"[1]", "not a JSON object"),
    config("hidden-negative", "a hidden size of -1", setting("hidden_size", value=-1), "hidden_size"),
    config("hidden-text", "a hidden size as text", setting("hidden_size", value="8"), "hidden_size"),
    config("heads-0", "0 heads: dividing by it", setting("num_attention_heads", value=0), "num_attention_heads"),
    config("layers-10^30", "10^30 layers", setting("num_hidden_layers", value=10**30), "num_hidden_layers"),
    config("theta-list", "a list as rotary base", setting("rope_theta", value=[1]), "rope_theta"),
    config("scaling-list", "a list as rotary scaling", setting("rope_scaling", value=[1]), "rope_parameters"),
    config("type-is-list", "a list as model type", setting("model_type", value=["llama"]), "model_type"),
    config("layers-lie", "another number of layers than the tensors have", setting("num_hidden_layers", value=2),
           "config says 2 layers but tensors have 1", 40, compare),
    config("layers-2^30", "2^30 layers, each to be looked for", setting("num_hidden_layers", value=2**30),
           "larger than of any model", 40, compare),
    config("layers-10,000", "as many layers as are read at most", setting("num_hidden_layers", value=10_000),
           "config says 10000 layers but tensors have 1", 40, compare),
    config("heads-lie", "another number of heads than the tensors have", setting("num_attention_heads", value=4),
           "config says 4 heads", 40, compare),
    config("vocabulary-lies", "another vocabulary than the tensors have", setting("vocab_size", value=7),
           "config says vocab_size=7", 40, compare),
    config("rows-too-few", "fewer embedding rows than tokens", setting("vocab_size", value=7),
           "more tokens than the model has", 41, convert_vocabulary),
    tokenizer("empty", "an empty file", b"", "not JSON"),
    tokenizer("deep", "JSON of 200,000 levels", DEEP, "JSON|nested|missing"),
    tokenizer("list", "a list instead of an object", b"[]", "not a JSON object"),
    tokenizer("vocabulary-list-of-numbers", "a vocabulary that is a list of numbers",
              setting("model", "vocab", value=[1, 2]), "not a pair"),
    tokenizer("id-negative", "a token with id -1", setting("model", "vocab", "a", value=-1), "no token id"),
    tokenizer("id-2^40", "a token with id 2^40: a list of that length", setting("model", "vocab", "a", value=2**40),
              "no token id"),
    tokenizer("id-gap", "a token with id 16,000,000: a list with that gap",
              setting("model", "vocab", "a", value=16_000_000), "large gap"),
    tokenizer("merges-object", "merges that are an object", setting("model", "merges", value={"a": 1}), "not a list"),
    tokenizer("merges-of-three", "a merge of three parts", setting("model", "merges", value=["a b c"]), "not a pair"),
    tokenizer("merges-lost", "no merges", setting("model", "merges", value=[]), "no merges"),
    tokenizer("added-number", "an added token that is a number", setting("added_tokens", value=[5]), "has no text"),
    tokenizer("pattern-broken", "a split pattern that is no expression",
              setting("pre_tokenizer", value={"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated",
                                              "invert": False}), "tokenizer"),
    tokenizer("type-unknown", "a model that the library does not know", setting("model", "type", value="Spell"),
              "tokenizer"),
    generation("not-json", "a file that breaks off", b"{", "not JSON"),
    generation("list", "a list instead of an object", b"[]", "not a JSON object"),
    generation("deep", "JSON of 200,000 levels", DEEP, "JSON|nested"),
    template("folded-constant", "a gigabyte made while compiling", "{{ 'a' * (10**9) }}", "memory"),
    template("centred", "a gigabyte of spaces", "{{ 'a'.center(10**9) }}", "memory"),
    template("padded-number", "a number of a gigabyte", "{{ '%01000000000d' % 1 }}", "memory"),
    template("nested-loops", "loops that never end",
             "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}"
             "{% endfor %}{% endfor %}", "too long"),
    template("power-tower", "a number of 10^9 digits", "{{ 10 ** (10 ** 9) }}", "too long|memory"),
    template("too-much-text", "more text than a conversation has",
             "{% for a in range(6000) %}{{ 'x' * 1000 }}{% endfor %}", "too much|too long"),
    template("escape", "a walk to the operating system by attributes",
             "{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe", ESCAPE),
    template("escape-cycler", "a walk by the globals of a helper",
             "{{ cycler.__init__.__globals__.os.popen('touch harmed').read() }}", "unsafe", ESCAPE),
    template("recursion", "a macro that calls itself", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    template("not-a-template", "a block that is never closed", "{% for m in messages %}", "template"),
    template("long", "a template of a megabyte", "x" * (1 << 20), "too long"),
]  # fmt: skip
