"""What the model card beside a file claims: of which model it is, and in which type its values are stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_aprqa.suite.stored_types import FILE_TYPES, FLOATS, MIXTURES, base_type, declared_label, majority_type

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from pytest_aprqa.models.artifact import OpenArtifact

Row = tuple[Any, Any, bool]
LABELS = frozenset({*FILE_TYPES.values(), *MIXTURES})
CARD = "README.md"
# Front matter in which publishers name the type of one file; the hub itself has no such field.
_TYPE_FIELDS = ("quantization", "quantization_type", "quantized_as", "quant_type", "quant")
# Tags that the hub and quantisers put on repositories whose weights are no plain floats.
_BITS_TAGS = frozenset({"2-bit", "3-bit", "4-bit", "5-bit", "6-bit", "8-bit", "gptq", "awq", "bitsandbytes", "fp8"})
_FEW_BITS = ("IQ1", "IQ2", "IQ3", "Q2", "Q3", "TQ")
_HUB_CACHE = re.compile(r"models--[^/]+--([^/]+)")
# Words of a repository's name that say how a model is stored or who mirrors it, not which one it is.
_OF_NO_MODEL = frozenset(
    {
        "gguf",
        "hf",
        "mlx",
        "awq",
        "gptq",
        "bnb",
        "4bit",
        "8bit",
        "int4",
        "int8",
        "fp8",
        "fp16",
        "bf16",
        "f16",
        "f32",
        "meta",
    }
)
_TITLE = re.compile(r"^#\s+(.+?)\s*#*\s*$", re.MULTILINE)
_CELL = re.compile(r"[\s|`*]+")


def card_claims(source: OpenArtifact, target: OpenArtifact) -> dict[str, Row]:
    """claim -> (what the target's own card says, what is true, same). Nothing where there is no card of its own.

    A card that is the source's word for word speaks of the source. The base model is judged only where the source has
    a name that does not depend on where somebody put its folder.
    """
    card = _card_of(target)
    if card is None or source.format != "safetensors" or _is_the_sources(source, card):
        return {}
    fields, body = _fields(card), _text(card)
    rows = dict(_type_claims(fields, body, target))
    named = fields.get("base_model")
    claimed = [one for one in (named if isinstance(named, list) else [named]) if isinstance(one, str)]
    names = _names_of(source)
    if claimed and names:
        same = any(_alike(_last(one), name) for one in claimed for name in names)
        rows["model card: base_model"] = (", ".join(claimed), ", ".join(sorted(names)), same)
    return rows


def _card_of(artifact: OpenArtifact) -> Path | None:
    path = artifact.folder / CARD
    return path if path.is_file() else None


def _is_the_sources(source: OpenArtifact, card: Path) -> bool:
    own = _card_of(source)
    return own is not None and (own.samefile(card) or _text(own) == _text(card))


def _text(card: Path) -> str:
    """The card as text; what is no UTF-8 in it is left to those who read the card itself."""
    from pytest_aprqa.model_card import MAX_CARD_BYTES

    try:
        with card.open("rb") as stream:
            return stream.read(MAX_CARD_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""


def _fields(card: Path) -> Mapping[str, Any]:
    """The front matter; empty where there is none that readers would take."""
    from pytest_aprqa.model_card import read_model_card
    from pytest_aprqa.models.errors import ModelError

    try:
        return read_model_card(card).fields
    except ModelError:
        return {}


def _type_claims(fields: Mapping[str, Any], body: str, target: OpenArtifact) -> Iterator[tuple[str, Row]]:
    entries = [target.tensors.entry(name) for name in target.tensors.names()]
    types = {entry.dtype for entry in entries if len(entry.shape) > 1}
    stored = declared_label(target) or majority_type(entries) or "unknown"
    for field in _TYPE_FIELDS:
        label = _label(fields.get(field))
        if label is not None:
            yield f"model card: {field}", (label, stored, _fits(label, stored, types))
    for label in _labels_of_rows(body, target.file.path.name):
        yield f"model card: type of {target.file.path.name}", (label, stored, _fits(label, stored, types))
    tags = fields.get("tags")
    claimed = sorted(_BITS_TAGS & {str(tag).lower() for tag in tags}) if isinstance(tags, list) else []
    if claimed and target.format == "safetensors":  # a repository of GGUF files holds many types
        plain = all(entry.dtype in FLOATS for entry in entries)
        yield "model card: tags", (", ".join(claimed), stored, not plain)


def _labels_of_rows(body: str, name: str) -> Iterator[str]:
    """Types that a row of a table gives the file NAME: cells that are nothing but a type."""
    for line in body.splitlines():
        if line.lstrip().startswith("|") and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", line):
            labels = {label for cell in line.split("|") if (label := _label(_CELL.sub("", cell))) is not None}
            if len(labels) == 1:
                yield labels.pop()


def _label(value: Any) -> str | None:
    """VALUE as a label of a file, `Q4_K_M`; None where it is none that is known."""
    text = value.upper() if isinstance(value, str) else ""
    return text if text in LABELS else None


def _fits(claimed: str, stored: str, types: Collection[str]) -> bool:
    """Equal labels; a bare type, claimed or stored, stands for each label of its mixture.

    Publishers name a file of few bits after its few largest matrices, general.file_type after the most.
    """
    if claimed.startswith(_FEW_BITS) and base_type(claimed) in types:
        return True
    both_whole = claimed in FILE_TYPES.values() and stored in FILE_TYPES.values()
    return claimed == stored if both_whole else base_type(claimed) == base_type(stored)


def _names_of(source: OpenArtifact) -> set[str]:
    """Names of the source model, and of the model that its own card calls its base; none where nothing is certain."""
    cached = _HUB_CACHE.search(str(source.folder))
    card = _card_of(source)
    title = _TITLE.search(_text(card)) if card is not None else None
    folder = source.folder.name
    if cached is not None:
        names = {cached.group(1)}
    elif title is not None and _plain(title.group(1)) == _plain(folder):
        names = {folder}
    else:
        return set()
    base = _fields(card).get("base_model") if card is not None else None
    return names | {_last(one) for one in (base if isinstance(base, list) else [base]) if isinstance(one, str)}


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _alike(claimed: str, name: str) -> bool:
    """The same words but for those of formats, types and mirrors: `Llama-3-8B-GGUF`, not `Llama-3-8B-Instruct`."""
    a, b = (set(re.findall(r"[a-z0-9]+", one.lower())) - _OF_NO_MODEL for one in (claimed, name))
    return bool(a) and a == b
