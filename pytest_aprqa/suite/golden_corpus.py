"""Golden corpora: what transformers answers to some prompts (ids, text, logits), with a digest of every file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST, VERSION = "manifest.json", 1
LARGEST_JSON = 16 << 20  # bytes
HASH_DIGITS = 16
LOGITS = "logits"
_HASH = re.compile(rf"[0-9a-f]{{{HASH_DIGITS}}}")


class CorpusError(ValueError):
    """A corpus is missing, incomplete or not what its manifest says."""


@dataclass(frozen=True, slots=True)
class Golden:
    """One prompt. Row i of `logits` (float32, rows x vocabulary) chose token i of `generated_ids`, greedily.

    Ids are None in corpora that do not tell them: the rows are then the last ones of the prompt.
    """

    prompt: str
    prompt_ids: list[int] | None
    generated_ids: list[int] | None
    generated_text: str
    logits: Any


@dataclass(frozen=True, slots=True)
class Corpus:
    """A folder with a manifest. `facts`: what made it, as the manifest says."""

    folder: Path
    hashes: tuple[str, ...]
    facts: Mapping[str, Any]

    def __iter__(self) -> Iterator[Golden]:
        """Every golden answer in the manifest's order, checked against its digest. CorpusError."""
        for number in self.hashes:
            yield read_golden(self, number)


def prompt_hash(prompt: str) -> str:
    """First 16 hex digits of the SHA-256 of the prompt's UTF-8."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:HASH_DIGITS]


def open_corpus(folder: Path) -> Corpus:
    """Read the manifest of a corpus. CorpusError names the file and the field."""
    path = folder / MANIFEST
    data = _json_object(path)
    hashes = data.get("prompts")
    if not isinstance(hashes, list) or not hashes:
        raise CorpusError(f"{path}: prompts: missing or empty; record a corpus with aprqa parity --record")
    for number in hashes:
        if not isinstance(number, str) or not _HASH.fullmatch(number):
            raise CorpusError(f"{path}: prompts: found {str(number)[:40]!r}, {HASH_DIGITS} hex digits are needed")
    version = data.get("version", VERSION)
    if version != VERSION:
        raise CorpusError(f"{path}: version: found {version!r}, limit {VERSION}; record the corpus again")
    digests = data.get("files", {})
    if not isinstance(digests, dict):
        raise CorpusError(f"{path}: files: must map file names to SHA-256 digests")
    return Corpus(folder, tuple(hashes), data)


def read_golden(corpus: Corpus, number: str) -> Golden:
    """One golden answer. CorpusError: a file is missing, changed since it was recorded, or says something else."""
    from pytest_aprqa.formats.errors import FormatError
    from pytest_aprqa.formats.safetensors_file import SafeTensorsFile

    path = corpus.folder / f"{number}.json"
    _check_digest(corpus, path)
    data = _json_object(path)
    prompt = data.get("prompt")
    if not isinstance(prompt, str):
        raise CorpusError(f"{path}: prompt: missing")
    if prompt_hash(prompt) != number:
        raise CorpusError(f"{path}: prompt: its hash is {prompt_hash(prompt)}, not the file's: corrupted corpus")
    tensors = corpus.folder / f"{number}.safetensors"
    _check_digest(corpus, tensors)
    try:
        with SafeTensorsFile(tensors) as file:
            if LOGITS not in file.entries or file.entries[LOGITS].dtype != "F32":
                raise CorpusError(f"{tensors}: {LOGITS}: an F32 tensor of this name is needed")
            logits = file.read(LOGITS).copy()
    except (FormatError, OSError) as error:
        raise CorpusError(f"{tensors}: cannot be read: {error}") from None
    logits = logits.reshape(-1, logits.shape[-1]) if logits.ndim else logits.reshape(1, 1)
    golden = Golden(
        prompt, _ids(path, data, "prompt_ids"), _ids(path, data, "generated_ids"),
        str(data.get("generated_text", "")), logits,
    )  # fmt: skip
    _check_consistent(path, golden)
    return golden


def _check_consistent(path: Path, golden: Golden) -> None:
    """Finite logits, not all zero, whose best ones are the generated ids."""
    import numpy

    if not numpy.isfinite(golden.logits).all():
        raise CorpusError(f"{path}: {LOGITS}: NaN or infinite: corrupted corpus")
    if not golden.logits.any():
        raise CorpusError(f"{path}: {LOGITS}: all zero: nothing to compare with")
    if golden.generated_ids is None:
        return
    best = golden.logits.argmax(axis=1).tolist()
    if golden.generated_ids[: len(best)] != best[: len(golden.generated_ids)] or len(best) > len(golden.generated_ids):
        raise CorpusError(f"{path}: generated_ids: the logits chose {best}, not these: corrupted corpus")


def write_corpus(folder: Path, goldens: Sequence[Golden], facts: Mapping[str, Any]) -> Corpus:
    """Write a new corpus; the manifest last. CorpusError where the folder has one already, or a prompt comes twice."""
    from pytest_aprqa.formats.safetensors_file import write_safetensors

    if (folder / MANIFEST).exists():
        raise CorpusError(f"{folder}: a corpus is there already; remove it or name another folder")
    hashes = [prompt_hash(golden.prompt) for golden in goldens]
    if len(set(hashes)) != len(hashes):
        raise CorpusError("a prompt is named twice; each prompt is recorded once")
    folder.mkdir(parents=True, exist_ok=True)
    digests: dict[str, str] = {}
    for number, golden in zip(hashes, goldens, strict=True):
        text = {
            "prompt": golden.prompt,
            "model": facts.get("model"),
            "transformers_version": facts.get("transformers_version"),
            "generated_text": golden.generated_text,
            "prompt_ids": golden.prompt_ids,
            "generated_ids": golden.generated_ids,
            "summary": _summary(golden.logits),
        }
        path = folder / f"{number}.json"
        path.write_text(json.dumps(text, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        tensors = path.with_suffix(".safetensors")
        write_safetensors(tensors, {LOGITS: ("F32", golden.logits.shape, golden.logits.astype("<f4").tobytes())})
        digests |= {one.name: _digest(one) for one in (path, tensors)}
    manifest = {"version": VERSION, **facts, "prompts": hashes, "files": digests}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return open_corpus(folder)


def _summary(logits: Any) -> list[dict[str, Any]]:
    """For human readers, a row a token: the five best ids with their logits, mean and spread."""
    rows = []
    for row in logits:
        best = (-row).argsort()[:5]
        rows.append(
            {
                "best_ids": best.tolist(),
                "best_logits": [round(float(row[i]), 4) for i in best],
                "mean": round(float(row.mean()), 4),
                "std": round(float(row.std()), 4),
            }
        )
    return rows


def _check_digest(corpus: Corpus, path: Path) -> None:
    wanted = corpus.facts.get("files", {}).get(path.name)
    if not path.is_file():
        raise CorpusError(f"{path}: missing, the manifest names it: incomplete corpus")
    if wanted is not None and _digest(path) != wanted:
        raise CorpusError(f"{path}: sha256 is not the manifest's: corrupted corpus, record it again")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _ids(path: Path, data: Mapping[str, Any], field: str) -> list[int] | None:
    value = data.get(field)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(i, int) and i >= 0 for i in value):
        raise CorpusError(f"{path}: {field}: a list of token ids is needed")
    return list(value)


def _json_object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise CorpusError(f"{path}: {path.stat().st_size} bytes, limit {LARGEST_JSON}")
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, CorpusError):
            raise
        raise CorpusError(f"{path}: is not JSON: {error}") from None
    if not isinstance(data, dict):
        raise CorpusError(f"{path}: is not a JSON object")
    return data
