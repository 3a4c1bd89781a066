"""Lies of `.provenance.json`, one for each rule: a true record of a clean model, and how it is made to lie."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_aprqa.defects.expectations import Expectation

Record = dict[str, Any]
RULES_GATE = "{rule}"  # of the check that runs them all
OTHER_HASH = "5" * 64


@dataclass(frozen=True, slots=True)
class Lie:
    """One lie: `name` with the prefix `record-` is the item, `tell` changes a copy of the true record in place."""

    name: str
    title: str
    origin: str
    rule: str
    words: str
    tell: Callable[[Record], object]

    @property
    def expected(self) -> Expectation:
        """The rule that must refute it, and its words."""
        return Expectation((self.rule,), self.words)

    def to_json(self) -> dict[str, str]:
        """The fields that a defect of an artifact has too."""
        fields = {"name": f"record-{self.name}", "title": self.title, "origin": self.origin}
        return {**fields, "format": "record", "gateway": self.rule}

    def told(self, record: Record) -> Record:
        """A copy of the record with the lie in it."""
        changed = copy.deepcopy(record)
        self.tell(changed)
        return changed


def true_record(folder: Path, files: Mapping[str, str]) -> Record:
    """The record of a model folder: `files` are the names of its files by format, SafeTensors among them."""
    from pytest_aprqa.formats.tensor_file import sha256_of

    entries = [
        {"format": name, "path": path, "sha256": sha256_of([folder / path])} for name, path in sorted(files.items())
    ]
    source = next(entry for entry in entries if entry["format"] == "safetensors")
    made = {"converter": "pytest-aprqa", "quantization": "bf16", "source_sha256": source["sha256"]}
    return {"source": source, "derived": [entry | made for entry in entries if entry is not source]}


def _set(where: str, key: str, value: Any) -> Callable[[Record], object]:
    """Give `key` of the source, or of every derived file, another value."""

    def tell(record: Record) -> None:
        for entry in [record["source"]] if where == "source" else record["derived"]:
            entry[key] = value

    return tell


REUPLOADED = "HilbertraumAI/HilbertRaum#201: published again under the same name, another file than the recorded hash"
REWRITTEN = "ollama/ollama#17554: a GGUF is rewritten when it is stored, its hash is no longer that of the file"
STALE_LIST = "ggml-org/llama.cpp#374: the list of hashes is that of an older format"
LEFT_OVER = "Thireus/GGUF-Tool-Suite#13: the records of another model were used again"
NOT_THE_SOURCE = "oobabooga/textgen#3695: GGUF made from GGML, a lossy file, where the source was meant"
RULE_BOOK = "verification matrix, F-PROV-001 to 004: {}"

LIES: tuple[Lie, ...] = (
    Lie(
        "of-another-source",
        "the derived file says that it was made from another source",
        LEFT_OVER,
        "PROV-001",
        r"derived from another source .*source_sha256: expected \w+, got 5{64}",
        _set("derived", "source_sha256", OTHER_HASH),
    ),
    Lie(
        "converter-unknown",
        "the derived file was made by a converter that nobody accepted",
        RULE_BOOK.format("an unknown converter"),
        "PROV-002",
        "Invalid converter .*got quick-export/0.1",
        _set("derived", "converter", "quick-export/0.1"),
    ),
    Lie(
        "source-is-gguf",
        "a GGUF file passes for the source",
        NOT_THE_SOURCE,
        "PROV-003",
        "Invalid source format .*expected safetensors, got gguf",
        _set("source", "format", "gguf"),
    ),
    Lie(
        "two-quantisations",
        "files of different quantisation are recorded as comparable",
        RULE_BOOK.format("compared formats of another quantisation"),
        "PROV-005",
        "different quantization .*gguf q4_k_m",
        lambda record: record["derived"][-1].update(quantization="q4_k_m"),
    ),
    Lie(
        "hash-of-another-file",
        "the recorded hash is not the derived file's",
        REUPLOADED,
        "PROV-006",
        r"Hash mismatch .*model\.\w+: expected 5{64}, got \w+",
        _set("derived", "sha256", OTHER_HASH),
    ),
    Lie(
        "hash-of-the-source-stale",
        "the recorded hash is not the source's",
        f"{REWRITTEN}; {STALE_LIST}",
        "PROV-006",
        r"Hash mismatch .*safetensors: expected 5{64}, got \w+",
        _set("source", "sha256", OTHER_HASH),
    ),
    Lie(
        "file-missing",
        "a recorded file is not there",
        RULE_BOOK.format("ghost files"),
        "PROV-007",
        r"recorded file is missing .*gone\.gguf: .*no such file",
        _set("derived", "path", "gone.gguf"),
    ),
    Lie(
        "path-leads-out",
        "a recorded path leads out of the model's folder",
        "measured: names with .. in archives and indexes of models",
        "PROV-007",
        r"recorded file is missing .*\.\./model\.gguf",
        _set("derived", "path", "../model.gguf"),
    ),
    Lie(
        "entry-twice",
        "one format and quantisation is recorded twice",
        RULE_BOOK.format("duplicates"),
        "PROV-008",
        "recorded twice .*2 entries",
        lambda record: record["derived"].append(dict(record["derived"][0])),
    ),
    Lie(
        "format-not-listed",
        "a file lies beside the model that the record does not know",
        RULE_BOOK.format("an unknown format"),
        "PROV-009",
        "not in the record .*got not listed",
        lambda record: record["derived"].pop(),
    ),
)
