"""Any artifact -> SafeTensors folder with config.json and tokenizer, made from the artifact's own declarations.

Float tensors keep their type, quantised ones become float32, so nothing is lost that the artifact still has.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pytest_aprqa.formats import codecs
from pytest_aprqa.formats.safetensors_file import write_safetensors
from pytest_aprqa.formats.tensor_file import TensorEntry
from pytest_aprqa.lifecycle.errors import LifecycleError
from pytest_aprqa.lifecycle.progress import Progress, TensorProgress
from pytest_aprqa.models.artifact import OpenArtifact
from pytest_aprqa.models.tokenizer import TokenizerDeclaration

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"
FLOATS = ("F64", "F32", "F16", "BF16")
CLASSES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}  # fmt: skip
_DTYPE_WORDS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def write_safetensors_from(artifact: OpenArtifact, folder: Path, *, progress: Progress | None = None) -> Path:
    """Write `artifact` as a Hugging Face folder; the folder. A tied head that is a copy of the embedding is left out.

    LifecycleError: a declaration that config.json cannot express. FormatError, ModelError: the artifact is unsound.
    """
    config = artifact.config
    if config.architecture not in CLASSES or config.num_experts:
        problem = "config.json of this family cannot be made from the file alone"
        found = f"{config.architecture} with experts" if config.num_experts else config.architecture
        advice = "take config.json of the published model"
        raise LifecycleError(
            artifact.file.path, "architecture", problem, found=found, limit=", ".join(CLASSES), advice=advice
        )
    if config.rope_style != "half":
        advice = "correct the declared rotary type of the file"
        problem = "config.json cannot declare this rotation"
        raise LifecycleError(artifact.file.path, "rope_type", problem, found=config.rope_style, advice=advice)
    folder.mkdir(parents=True, exist_ok=True)
    entries = {name: artifact.tensors.entry(name) for name in artifact.tensors.names()}
    if config.tied_embeddings and _is_copy(artifact, entries):
        del entries[HEAD]
    kinds = {name: entry.dtype if entry.dtype in FLOATS else "F32" for name, entry in entries.items()}
    count = TensorProgress(progress, sum(entry.nbytes for entry in entries.values()))

    def payload(entry: TensorEntry, kind: str) -> bytes:
        count.step(entry.name, entry.nbytes)
        return codecs.encode(kind, artifact.tensors.read(entry.name))

    tensors = {n: (kinds[n], entry.shape, partial(payload, entry, kinds[n])) for n, entry in entries.items()}
    write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
    _write(folder / "config.json", _config(artifact, kinds))
    _write_tokenizer(folder, artifact.tokenizer)
    return folder


def _is_copy(artifact: OpenArtifact, entries: dict[str, TensorEntry]) -> bool:
    if HEAD not in entries or EMBEDDING not in entries or entries[HEAD].shape != entries[EMBEDDING].shape:
        return False
    pairs = zip(artifact.tensors.chunks(HEAD), artifact.tensors.chunks(EMBEDDING), strict=True)
    return all(np.array_equal(head, embedding) for head, embedding in pairs)


def _config(artifact: OpenArtifact, kinds: dict[str, str]) -> dict[str, Any]:
    config, tokenizer = artifact.config, artifact.tokenizer
    matrices = [kind for name, kind in kinds.items() if len(artifact.tensors.entry(name).shape) > 1]
    most = max(sorted(set(matrices)), key=matrices.count) if matrices else "F32"
    values = config.to_transformers() | {
        "model_type": config.architecture,
        "architectures": [CLASSES[config.architecture]] if config.architecture in CLASSES else [],
        "attention_bias": config.attention_bias,
        "dtype": _DTYPE_WORDS[most],
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": tokenizer.eos_id,
    }
    return dict(sorted(values.items()))


def _write_tokenizer(folder: Path, tokenizer: TokenizerDeclaration) -> None:
    if tokenizer.hf_json is not None:
        (folder / "tokenizer.json").write_text(tokenizer.hf_json, encoding="utf-8")
    else:
        built = tokenizer.build()
        if tokenizer.add_bos and tokenizer.bos_token is not None and tokenizer.bos_id is not None:
            from tokenizers import processors

            begin = (tokenizer.bos_token, tokenizer.bos_id)
            built.post_processor = processors.TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
        (folder / "tokenizer.json").write_text(built.to_str(), encoding="utf-8")
    settings = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token, "chat_template": None}
    _write(folder / "tokenizer_config.json", settings | {"tokenizer_class": "PreTrainedTokenizerFast"})
    if tokenizer.chat_template is not None:
        (folder / "chat_template.jinja").write_text(tokenizer.chat_template, encoding="utf-8", newline="")
    ends = sorted(tokenizer.end_ids, key=lambda one: (one != tokenizer.eos_id, one))
    _write(folder / "generation_config.json", {"bos_token_id": tokenizer.bos_id, "eos_token_id": ends})


def _write(path: Path, document: dict[str, Any]) -> None:
    # A window that is left out has the family's default size; null says that there is none.
    kept = {name: value for name, value in document.items() if value is not None or name == "sliding_window"}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
