"""The readers under fuzzing: small sound files of each kind, what is read of a damaged one, and how it is damaged."""

from __future__ import annotations

import dataclasses
import json
import pickle
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.evidence.errors import EvidenceError
from pytest_aprqa.evidence.log import read_log
from pytest_aprqa.formats.errors import LocatedError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.source import open_source
from pytest_aprqa.models.artifact import OpenArtifact, open_artifact
from pytest_aprqa.models.families import integrity_problems, layout_problems
from pytest_aprqa.playbooks.errors import PlaybookError
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.random_models import random_model_folder
from tests.formats.raw_files import good_apr, good_gguf, good_safetensors
from tests.fuzz import mutations

TYPED = (LocatedError, PlaybookError, EvidenceError)
DATA = Path(__file__).resolve().parents[1] / "data"
LARGEST_DECODED = 1 << 20  # bytes of a tensor that is decoded
_TOKENIZERS_THAT_WORK: set[int] = set()
TINY = {"hidden": 8, "intermediate": 9, "heads": 2, "kv_heads": 1, "head_dim": 4, "layers": 1, "merges": 3, "shards": 1}


@dataclass(frozen=True)
class Target:
    """`seeds`: name -> sound file and its mutation. `file`: name of the damaged file in the folder of `prepare`.

    `share`: small documents inside a whole folder take long to read and have little to damage: a part of the inputs.
    """

    file: str
    seeds: Callable[[], dict[str, tuple[bytes, mutations.Mutation]]]
    read: Callable[[Path], None]
    prepare: Callable[[Path], object] = lambda folder: None
    share: float = 1.0


def read_weights(path: Path) -> None:
    """Open strictly, decode small tensors, read what the file says of itself; leniently where that is refused."""
    try:
        _read_all(path, strict=True)
    except LocatedError as error:
        check_line(error)
        _read_all(path, strict=False)
        return
    open_tensor_file(path, strict=False).close()  # what the stricter reader accepts this one must, and reads the same


def _read_all(path: Path, *, strict: bool) -> None:
    with open_tensor_file(path, strict=strict) as file:
        read_tensors(file)
        if file.format != "safetensors":
            read_declarations(OpenArtifact(file))


def read_tensors(file: TensorFile) -> None:
    """Raw bytes of every tensor; values of the small ones where their type has any."""
    for name, entry in list(file.entries.items())[:40]:
        assert file.raw(name).nbytes == entry.nbytes
        if entry.nbytes <= LARGEST_DECODED:
            try:
                assert file.read(name).shape == entry.shape
            except LocatedError as error:
                check_line(error)


def read_declarations(artifact: OpenArtifact) -> None:
    """Configuration, tensor layout, tokenizer; each may be refused on its own."""
    for step in (_layout, _tokens):
        try:
            step(artifact)
        except LocatedError as error:
            check_line(error)


def _layout(artifact: OpenArtifact) -> None:
    config = artifact.config
    shapes = {name: artifact.tensors.entry(name).shape for name in list(artifact.tensors.names())[:40]}
    layout_problems(config, shapes)
    integrity_problems(config, shapes)


def _tokens(artifact: OpenArtifact) -> None:
    tokenizer = artifact.tokenizer
    # Most damage is elsewhere: a tokenizer that says what an earlier one said is not built again.
    said = pickle.dumps([getattr(tokenizer, field.name) for field in dataclasses.fields(tokenizer)[1:]])
    if hash(said) not in _TOKENIZERS_THAT_WORK:
        tokenizer.decode(tokenizer.encode("Hello 12, äh")[:20])
        _TOKENIZERS_THAT_WORK.add(hash(said))


def read_folder(path: Path) -> None:
    """Everything that a conversion and the checks read of a Hugging Face folder."""
    refusals = []
    for step in (_open_source, _open_folder):
        try:
            step(path.parent)
        except LocatedError as error:
            check_line(error)
            refusals.append(error)
    if refusals:
        raise refusals[0]


def _open_source(folder: Path) -> None:
    with open_source(folder) as source:
        source.tokenizer.decode(source.tokenizer.encode("Hello 12, äh")[:20])


def _open_folder(folder: Path) -> None:
    with open_artifact(folder, "safetensors") as artifact:
        read_tensors(artifact.file)
        read_declarations(artifact)


def check_line(error: Exception) -> None:
    """A refusal is one printable line that names the file or the field."""
    line = str(error)
    assert line.strip(), f"{type(error).__name__} says nothing"
    assert len(line.splitlines()) == 1, f"more than one line: {line!r}"
    assert len(line) < 4000, f"a line of {len(line)} characters"


def _safetensors_seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
    with tempfile.TemporaryDirectory() as folder:
        model = random_model_folder(Path(folder), 1, **TINY)
        files = {"good": good_safetensors(), "model": (model / "model.safetensors").read_bytes()}
    return {name: (data, mutations.safetensors) for name, data in files.items()}


def _gguf_seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
    seeds = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"good": good_gguf()}
        for seed, dtype in ((1, "native"), (2, "q8_0"), (3, "q4_k")):
            model = random_model_folder(folder / str(seed), seed, **{**TINY, "hidden": 32})
            files[dtype] = derive(model, "gguf", cache=folder / "c", dtype=dtype).path.read_bytes()
        for label, data in files.items():
            path = folder / "x.gguf"
            path.write_bytes(data)
            fields = mutations.gguf_fields(data, lambda path=path: GgufFile(path).close())
            seeds[label] = (data, mutations.gguf(fields))
    return seeds


def _apr_seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
    with tempfile.TemporaryDirectory() as name:
        model = random_model_folder(Path(name) / "m", 1, **TINY)
        files = {"good": good_apr(), "ours": derive(model, "apr", cache=Path(name) / "c").path.read_bytes()}
        files["q8"] = derive(model, "apr", cache=Path(name) / "c", dtype="q8").path.read_bytes()
    files["example"] = (DATA / "apr" / "worked-example.apr").read_bytes()
    files["real"] = (DATA / "apr" / "real-import-int4.apr").read_bytes()
    return {label: (data, mutations.apr) for label, data in files.items()}


def _folder_file(name: str, **shape: object) -> Callable[[], dict[str, tuple[bytes, mutations.Mutation]]]:
    def seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
        with tempfile.TemporaryDirectory() as folder:
            model = random_model_folder(Path(folder), 4, **{**TINY, **shape})
            return {name: ((model / name).read_bytes(), mutations.json_text)}

    return seeds


def _folder(**shape: object) -> Callable[[Path], object]:
    return lambda folder: random_model_folder(folder, 4, **{**TINY, **shape})


def _playbook_seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
    folder = DATA.parents[1] / "playbooks"
    paths = sorted(folder.rglob("*.playbook.yaml"), key=lambda path: path.stat().st_size)[-3:]
    return {path.name: (path.read_bytes(), mutations.lines) for path in paths}


def _evidence_seeds() -> dict[str, tuple[bytes, mutations.Mutation]]:
    entry = {
        "id": "1", "gate_id": "F-A-001", "outcome": "Corroborated", "reason": "as expected", "output": "4",
        "metrics": {"duration_ms": 12, "tokens_per_second": 3.5}, "timestamp": "2026-01-02T03:04:05Z",
        "scenario": {"id": "s", "model": {"org": "o", "name": "n"}, "modality": "run", "backend": "cpu",
                     "format": "gguf", "prompt": "2+2", "seed": 1, "temperature": 0.0, "max_tokens": 8},
        "host": {}, "metadata": {}, "observed": [{"name": "n", "value": 1, "limit": 2, "passed": True}],
    }  # fmt: skip
    return {"log": (b"\n".join([json.dumps(entry).encode()] * 3) + b"\n", mutations.evidence_lines)}


def _read_evidence(path: Path) -> None:
    for entry in read_log(path):
        assert entry.gate_id is not None


TARGETS = {
    "safetensors": Target("model.safetensors", _safetensors_seeds, read_weights),
    "gguf": Target("model.gguf", _gguf_seeds, read_weights),
    "apr": Target("model.apr", _apr_seeds, read_weights),
    "index": Target("model.safetensors.index.json", _folder_file("model.safetensors.index.json", shards=2), read_folder,
                    _folder(shards=2), 0.1),
    "tokenizer": Target("tokenizer.json", _folder_file("tokenizer.json"), read_folder, _folder(), 0.1),
    "config": Target("config.json", _folder_file("config.json"), read_folder, _folder(), 0.1),
    "settings": Target("tokenizer_config.json", _folder_file("tokenizer_config.json", template="chatml",
                       template_file=False), read_folder, _folder(template="chatml", template_file=False), 0.1),
    "generation": Target("generation_config.json", _folder_file("generation_config.json"), read_folder, _folder(), 0.1),
    "playbook": Target("x.playbook.yaml", _playbook_seeds, lambda path: void(load_playbook(path)), share=0.2),
    "evidence": Target("evidence.jsonl", _evidence_seeds, _read_evidence),
}  # fmt: skip


def void(value: object) -> None:
    """Drop a value."""


def mutant(target: Target, number: int, run: int, seeds: dict[str, tuple[bytes, mutations.Mutation]]) -> bytes:
    """The damaged file `number` of run `run`: always the same bytes."""
    draw = random.Random(run << 40 | number)
    data, mutate = seeds[draw.choice(sorted(seeds))]
    return mutate(data, draw)
