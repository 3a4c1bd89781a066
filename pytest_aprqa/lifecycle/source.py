"""What a conversion reads: one SafeTensors folder with its declarations, checked for what a target cannot express."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile, sha256_of
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.rotary_scaling import refuse_scaling
from pytest_aprqa.models.config import ModelConfig, config_from_hf
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf

# Besides the weights, the files whose content can change a converted artifact.
DECLARATIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
)


@dataclass(frozen=True, slots=True)
class Source:
    """An open source model: `config_json` is config.json as written, `config` and `tokenizer` its checked readings."""

    folder: Path
    weights: TensorFile
    config_json: dict[str, Any]
    generation_config: dict[str, Any]
    tokenizer_config: dict[str, Any]
    config: ModelConfig
    tokenizer: TokenizerDeclaration

    @property
    def name(self) -> str:
        """Name stored in derived files: from the declaration only, so that equal content gives equal bytes."""
        declared = str(self.config_json.get("_name_or_path") or "").rstrip("/")
        return declared.rsplit("/", 1)[-1] or self.config.architecture


@dataclass(frozen=True, slots=True)
class SourceDigests:
    """Digests of a source: `files` maps file name -> sha256; `weights` is one digest over the weight files in order."""

    files: dict[str, str]
    weights: str


def source_digests(folder: Path) -> SourceDigests:
    """Digest the weights and every declaration below `folder` that a conversion reads (size-bounded reads)."""
    with open_tensor_file(folder) as weights:
        paths = list(weights.files)
    files = {path.name: sha256_of([path]) for path in paths}
    files |= {name: sha256_of([folder / name]) for name in DECLARATIONS if (folder / name).is_file()}
    return SourceDigests(files, files[paths[0].name] if len(paths) == 1 else sha256_of(paths))


@contextmanager
def open_source(folder: Path) -> Iterator[Source]:
    """Open the model in `folder`. Raises FormatError, ModelError, or LifecycleError for what cannot be converted."""
    config = config_from_hf(folder)
    config_json = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    refuse_scaling(folder, config_json, config)
    tokenizer = tokenizer_from_hf(folder)
    with open_tensor_file(folder) as weights:
        yield Source(
            folder=folder,
            weights=weights,
            config_json=config_json,
            generation_config=_optional_json(folder / "generation_config.json"),
            tokenizer_config=_optional_json(folder / "tokenizer_config.json"),
            config=config,
            tokenizer=tokenizer,
        )


def _optional_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LifecycleError(path, "file", f"is not JSON: {error}") from error
    return document if isinstance(document, dict) else {}


def refuse_window(source: Source) -> None:
    """LifecycleError for a model whose layers look back on fewer tokens than its context has."""
    window, context = source.config.sliding_window, source.config.max_position_embeddings
    if window is not None and window < context:
        raise LifecycleError(
            source.folder / "config.json",
            "sliding_window",
            "windowed attention cannot be declared in a derived file",
            found=window,
            limit=context,
            advice="publish the converted file yourself and name it in the playbook",
        )
