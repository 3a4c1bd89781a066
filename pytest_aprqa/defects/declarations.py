"""Operations on what a copied artifact says about itself: config, tokenizer, template, metadata of APR and GGUF."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import read_contents, write_contents
from pytest_aprqa.formats.opening import open_tensor_file

Operation = Callable[[Path], None]
Document = dict[str, Any]

CARD = "README.md"
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>")
TEMPLATE_FILE = "chat_template.jinja"


def edit_json(name: str, change: Callable[[Document], None]) -> Operation:
    """Change a JSON companion file of a model folder in place."""

    def apply(folder: Path) -> None:
        path = folder / name
        if not path.is_file():
            raise DefectNotApplicableError(folder, name, "the model has no such file")
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    return apply


def set_config(**values: Any) -> Operation:
    """Set fields of config.json; a callable value gets the whole config and returns the field."""

    def change(config: Document) -> None:
        before = dict(config)
        config.update({key: value(before) if callable(value) else value for key, value in values.items()})

    return edit_json(CONFIG, change)


def set_rope_theta(theta: float) -> Operation:
    """Set the rotary base of config.json wherever it is declared."""

    def change(config: Document) -> None:
        nested = config.get("rope_parameters")
        if isinstance(nested, dict):
            nested["rope_theta"] = theta
        if "rope_theta" in config or not isinstance(nested, dict):
            config["rope_theta"] = theta

    return edit_json(CONFIG, change)


def set_card_fields(*lines: str) -> Operation:
    """Put fields at the top of the model card's front matter; a folder without a card gets one."""

    def apply(folder: Path) -> None:
        path = folder / CARD
        text = path.read_text(encoding="utf-8") if path.is_file() else f"---\n---\n\n# {folder.name}\n"
        fence, _, rest = text.partition("\n")
        if fence.rstrip() != "---":
            raise DefectNotApplicableError(path, "line 1", "the card has no front matter")
        path.write_text("\n".join([fence, *lines, rest]), encoding="utf-8")

    return apply


def set_chat_template(template: str | None) -> Operation:
    """Replace (None: remove) the chat template of a model folder, wherever it is declared."""

    def apply(folder: Path) -> None:
        (folder / TEMPLATE_FILE).unlink(missing_ok=True)

        def change(config: Document) -> None:
            config.pop("chat_template", None)
            if template is not None:
                config["chat_template"] = template

        edit_json(TOKENIZER_CONFIG, change)(folder)

    return apply


def edit_apr(change: Callable[[Document], None]) -> Operation:
    """Change the metadata of an APR file; tensors keep their bytes, checksums are right again."""

    def apply(path: Path) -> None:
        contents = read_contents(path)
        change(contents.metadata)
        write_contents(path, contents)

    return apply


def set_apr(**values: Any) -> Operation:
    """Set metadata keys of an APR file (write `__` for a dot in the key, as in tokenizer__merges)."""
    return edit_apr(lambda metadata: metadata.update({key.replace("__", "."): value for key, value in values.items()}))


def remove_apr_keys(*prefixes: str) -> Operation:
    """Remove every metadata key of an APR file that starts with one of `prefixes`."""

    def change(metadata: Document) -> None:
        chosen = [key for key in metadata if key.startswith(prefixes)]
        if not chosen:
            raise DefectNotApplicableError("metadata", ", ".join(prefixes), "the file has no such key")
        for key in chosen:
            del metadata[key]

    return edit_apr(change)


def edit_gguf(keys: str | tuple[str, ...], change: Callable[[Any], Any]) -> Operation:
    """Replace the values of GGUF keys (`{arch}` stands for the architecture); a change to None removes the key."""

    def apply(path: Path) -> None:
        contents = read_contents(path)
        for key in (keys,) if isinstance(keys, str) else keys:
            name = key.replace("{arch}", str(contents.metadata["general.architecture"]))
            if name not in contents.metadata:
                raise DefectNotApplicableError(path, name, "the file has no such key")
            value = change(contents.metadata[name])
            if value is None:
                del contents.metadata[name]
            else:
                contents.metadata[name] = value
        write_contents(path, contents)

    return apply


def add_gguf(*keys: tuple[str, str, Any]) -> Operation:
    """Set GGUF keys, also such as the file does not have: (key, value type as the reader names it, value)."""

    def apply(path: Path) -> None:
        contents = read_contents(path)
        for key, value_type, value in keys:
            name = key.replace("{arch}", str(contents.metadata["general.architecture"]))
            contents.metadata[name] = value
            contents.value_types[name] = value_type
        write_contents(path, contents)

    return apply


def retype_gguf(key: str, value_type: str) -> Operation:
    """Give one existing GGUF key another value type, as the reader names it; the value stays."""

    def apply(path: Path) -> None:
        contents = read_contents(path)
        name = key.replace("{arch}", str(contents.metadata["general.architecture"]))
        if name not in contents.metadata:
            raise DefectNotApplicableError(path, name, "the file has no such key")
        contents.value_types[name] = value_type
        write_contents(path, contents)

    return apply


def set_gguf(key: str, value: Any) -> Operation:
    """Set one existing GGUF key to `value`."""
    return edit_gguf(key, lambda _: value)


def remove_gguf(key: str) -> Operation:
    """Remove one GGUF key."""
    return edit_gguf(key, lambda _: None)


def other_end_token(path: Path) -> None:
    """Let the EOS of a GGUF file be another of its end tokens."""
    rows = end_rows(path)

    def change(own: int) -> int:
        others = [row for row in rows if row != own]
        if not others:
            raise DefectNotApplicableError(path, "tokenizer.ggml.eos_token_id", "the model has one end token")
        return others[0]

    edit_gguf("tokenizer.ggml.eos_token_id", change)(path)


def head_counts(path: Path) -> tuple[int, int]:
    """(attention heads, key/value heads) that the artifact at `path` declares."""
    if path.is_dir():
        config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        heads = int(config["num_attention_heads"])
        return heads, int(config.get("num_key_value_heads") or heads)
    with open_tensor_file(path) as file:
        values = file.metadata
        if file.format == "apr":
            return int(values["num_heads"]), int(values.get("num_kv_heads") or values["num_heads"])
        prefix = f"{values['general.architecture']}.attention.head_count"
        return int(values[prefix]), int(values.get(prefix + "_kv") or values[prefix])


def end_rows(path: Path) -> list[int]:
    """Token ids that end generation by the artifact's own declaration: rows of the output head."""
    if path.is_dir():
        found: list[Any] = []
        for name in (GENERATION, CONFIG):
            if (path / name).is_file():
                value = json.loads((path / name).read_text(encoding="utf-8")).get("eos_token_id")
                found += value if isinstance(value, list) else [value]
    else:
        with open_tensor_file(path) as file:
            values = file.metadata
        found = [values.get(key) for key in ("tokenizer.eos_token_id", "tokenizer.ggml.eos_token_id")]
        tokens = values.get("tokenizer.vocabulary") or values.get("tokenizer.ggml.tokens") or []
        # APR and GGUF have room for one end id; engines know the other end tokens by their names.
        found += [tokens.index(name) for name in END_TOKENS if name in tokens]
    rows = sorted({value for value in found if isinstance(value, int)})
    if not rows:
        raise DefectNotApplicableError(path, "end of text", "the model declares no end token")
    return rows
