"""`aprqa inspect FILE`: what a model file declares about itself; nothing is run and nothing is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pytest_aprqa.formats.tensor_file import TensorFile
    from pytest_aprqa.models.artifact import OpenArtifact

_LABEL_WIDTH = 28  # the longest field name, max_position_embeddings, indented


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")
@click.option("--lenient", is_flag=True, help="Report what is odd about the file as warnings where reading can go on.")
def command(file: Path, as_json: bool, lenient: bool) -> None:
    """Show format, sizes, tensor types, configuration and tokenizer of FILE (or of a folder with SafeTensors).

    Example: aprqa inspect model.gguf --json
    """
    from pytest_aprqa.formats.opening import open_tensor_file

    with open_tensor_file(file, strict=not lenient) as opened:
        facts = facts_of(opened)
    if as_json:
        click.echo(json.dumps(facts, indent=2, default=str))
    else:
        _show(facts)


def facts_of(opened: TensorFile) -> dict[str, Any]:
    """All facts of an open file; a declaration that cannot be read is null beside a `..._problem` of one line."""
    types: dict[str, dict[str, int]] = {}
    for entry in opened.entries.values():
        row = types.setdefault(entry.dtype, {"tensors": 0, "values": 0, "bytes": 0})
        row["tensors"] += 1
        row["values"] += _count(entry.shape)
        row["bytes"] += entry.nbytes
    from pytest_aprqa.models.artifact import OpenArtifact

    artifact = OpenArtifact(opened)
    card, card_problem = _declared(lambda: _card_fields(artifact))
    configuration, configuration_problem = _declared(lambda: dataclasses.asdict(artifact.config))
    tokenizer, tokenizer_problem = _declared(lambda: _tokenizer_facts(artifact))
    return {
        "path": str(opened.path),
        "format": opened.format,
        "files": [{"path": str(path), "bytes": path.stat().st_size} for path in opened.files],
        "bytes": sum(path.stat().st_size for path in opened.files),
        "tensors": len(opened.entries),
        "values": sum(row["values"] for row in types.values()),
        "dtypes": dict(sorted(types.items(), key=lambda item: -item[1]["bytes"])),
        "metadata_keys": sorted(opened.metadata),
        "warnings": list(opened.warnings),
        "config": configuration,
        "config_problem": configuration_problem,
        "tokenizer": tokenizer,
        "tokenizer_problem": tokenizer_problem,
        "card": card,
        "card_problem": card_problem,
    }


def _count(shape: tuple[int, ...]) -> int:
    values = 1
    for size in shape:
        values *= size
    return values


def _declared(read: Callable[[], dict[str, Any]]) -> tuple[dict[str, Any] | None, str | None]:
    try:
        return read(), None
    except (ValueError, OSError, KeyError) as error:
        return None, str(error)


def _card_fields(artifact: OpenArtifact) -> dict[str, Any]:
    """The front matter of the model card of a folder; a single file in another format has none of its own."""
    from pytest_aprqa.model_card import read_model_card

    return read_model_card(artifact.folder).fields if artifact.format == "safetensors" else {}


def _tokenizer_facts(artifact: OpenArtifact) -> dict[str, Any]:
    tokenizer = artifact.tokenizer
    return {
        "tokens": len(tokenizer.tokens),
        "merges": len(tokenizer.merges),
        "vocab_size": tokenizer.vocab_size,
        "pre_tokenizer": tokenizer.pre_tokenizer,
        "bos_id": tokenizer.bos_id,
        "eos_id": tokenizer.eos_id,
        "end_ids": sorted(tokenizer.end_ids),
        "add_bos": tokenizer.add_bos,
        "chat_template": tokenizer.chat_template is not None,
    }


def _show(facts: dict[str, Any]) -> None:
    from pytest_aprqa.reporting.hostile_text import for_terminal

    def line(label: str, value: object) -> None:
        click.echo(f"{label:<{_LABEL_WIDTH}}{for_terminal(str(value))}")

    line("file", facts["path"])
    line("format", facts["format"])
    line("size", f"{_bytes(facts['bytes'])} in {len(facts['files'])} file{'s' * (len(facts['files']) != 1)}")
    line("tensors", f"{facts['tensors']} with {facts['values']:,} values")
    for name, row in facts["dtypes"].items():
        line(f"  {name}", f"{row['tensors']} tensors, {row['values']:,} values, {_bytes(row['bytes'])}")
    for warning in facts["warnings"]:
        line("warning", warning)
    for part in ("config", "tokenizer", "card"):
        if facts[part] is None:
            line(part, f"cannot be read: {facts[f'{part}_problem']}")
            continue
        line(part, "")
        for name, value in facts[part].items():
            line(f"  {name}", value)


def _bytes(number: int) -> str:
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            return f"{number} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{number} B"
