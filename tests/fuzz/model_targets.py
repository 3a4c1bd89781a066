"""Weight files and the documents of a model's folder: sound ones, and all that is read of a damaged one."""

from __future__ import annotations

import dataclasses
import pickle
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_aprqa.formats.errors import LocatedError
from pytest_aprqa.formats.gguf_file import GgufFile
from pytest_aprqa.formats.gguf_writer import write_gguf
from pytest_aprqa.formats.opening import open_tensor_file
from pytest_aprqa.formats.tensor_file import TensorFile
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.lifecycle.source import open_source
from pytest_aprqa.models.artifact import OpenArtifact, open_artifact
from pytest_aprqa.models.config import config_from_hf
from pytest_aprqa.models.families import integrity_problems, layout_problems
from pytest_aprqa.models.tokenizer import TokenizerDeclaration
from pytest_aprqa.models.tokenizer_folder import tokenizer_from_hf
from tests.formats.raw_files import good_apr, good_gguf, good_safetensors
from tests.fuzz import mutations
from tests.fuzz.target import Seeds, Target, check_line
from tests.fuzz.tiny_models import SAMPLE, tiny_model_folder

DATA = Path(__file__).resolve().parents[1] / "data"
LARGEST_DECODED = 1 << 20  # bytes of a tensor that is decoded
_TOKENIZERS_THAT_WORK: set[int] = set()


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
        tokenizer.decode(tokenizer.encode(SAMPLE)[:20])
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
        source.tokenizer.decode(source.tokenizer.encode(SAMPLE)[:20])


def _open_folder(folder: Path) -> None:
    with open_artifact(folder, "safetensors") as artifact:
        read_tensors(artifact.file)
        read_declarations(artifact)


def _read_index(path: Path) -> None:
    open_tensor_file(path).close()


def _read_config(path: Path) -> None:
    config_from_hf(path.parent).to_transformers()


def _read_tokenizer(path: Path) -> None:
    tokenizer = tokenizer_from_hf(path.parent)
    tokenizer.decode(tokenizer.encode(SAMPLE)[:20])


_BUILD = TokenizerDeclaration.build
_BUILT: dict[str | None, Any] = {}


def _built_once(declaration: TokenizerDeclaration) -> Any:
    if declaration.hf_json not in _BUILT:
        _BUILT.clear()
        _BUILT[declaration.hf_json] = _BUILD(declaration)
    return _BUILT[declaration.hf_json]


def _read_settings(path: Path) -> None:
    """What stands beside a sound tokenizer.json; the library builds the tokenizer of that text once."""
    TokenizerDeclaration.build = _built_once  # type: ignore[method-assign]
    try:
        tokenizer_from_hf(path.parent)
    finally:
        TokenizerDeclaration.build = _BUILD  # type: ignore[method-assign]


def _safetensors_seeds() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model_folder(Path(folder), 1)
        files = {"good": good_safetensors(), "model": (model / "model.safetensors").read_bytes()}
    return {name: (data, mutations.safetensors(data)) for name, data in files.items()}


def _gguf_seeds() -> Seeds:
    seeds = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"good": good_gguf()}
        for seed, dtype in ((1, "native"), (2, "q8_0"), (3, "q4_k")):
            model = tiny_model_folder(folder / str(seed), seed, hidden=32)
            files[dtype] = derive(model, "gguf", cache=folder / "c", dtype=dtype).path.read_bytes()
        for label, data in files.items():
            path = folder / "x.gguf"
            path.write_bytes(data)
            fields = mutations.gguf_fields(data, lambda path=path: GgufFile(path).close())
            seeds[label] = (data, mutations.gguf(fields))
    return seeds


def _split_set(folder: Path) -> None:
    """Two GGUF files of one set."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, names in ((1, "a"), (2, "bc")):
        facts = [("split.no", number - 1, "uint16"), ("split.count", 2, "uint16"), ("split.tensors.count", 3, "int32")]
        rows = [(name, "F32", (1,), struct.pack("<f", 1)) for name in names]
        write_gguf(folder / f"m-{number:05}-of-00002.gguf", "llama", facts, rows)


def _split_seeds() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        _split_set(Path(folder))
        path = Path(folder) / "m-00002-of-00002.gguf"
        data = path.read_bytes()
        fields = mutations.gguf_fields(data, lambda: GgufFile(path, strict=False).close())
    return {"second": (data, mutations.gguf([(at, size) for at, size in fields if at < len(data) - 32]))}


def _template_seeds() -> Seeds:
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model_folder(Path(folder), 4, template="chatml", template_file=True)
        return {"chatml": ((model / "chat_template.jinja").read_bytes(), mutations.lines)}


def _apr_seeds() -> Seeds:
    with tempfile.TemporaryDirectory() as name:
        model = tiny_model_folder(Path(name) / "m", 1)
        files = {"good": good_apr(), "ours": derive(model, "apr", cache=Path(name) / "c").path.read_bytes()}
        files["q8"] = derive(model, "apr", cache=Path(name) / "c", dtype="q8").path.read_bytes()
    files["example"] = (DATA / "apr" / "worked-example.apr").read_bytes()
    often = {f"{label} {number}": data for label, data in files.items() for number in range(3)}
    often["real"] = (DATA / "apr" / "real-import-int4.apr").read_bytes()  # takes long, for its whole vocabulary
    return {label: (data, mutations.apr(data)) for label, data in often.items()}


def _document_target(file: str, parser: Callable[[Path], None], **shape: object) -> Target:
    """A JSON document of a folder of a model of `shape`, with the split pattern that is built soonest."""
    shape = {"pre_tokenizer": "deepseek-llm", **shape}

    def seeds() -> Seeds:
        with tempfile.TemporaryDirectory() as folder:
            data = (tiny_model_folder(Path(folder), 4, **shape) / file).read_bytes()
            return {file: (data, mutations.json_text(data))}

    return Target(
        file, seeds, read_folder, lambda folder: tiny_model_folder(folder, 4, **shape), parser, whole_every=20
    )


MODEL_TARGETS = {
    "safetensors": Target("model.safetensors", _safetensors_seeds, read_weights),
    "gguf": Target("model.gguf", _gguf_seeds, read_weights),
    "apr": Target("model.apr", _apr_seeds, read_weights),
    "split": Target("m-00002-of-00002.gguf", _split_seeds, read_weights, _split_set),
    "index": _document_target("model.safetensors.index.json", _read_index, shards=2),
    "tokenizer": _document_target("tokenizer.json", _read_tokenizer, pre_tokenizer="gpt-2"),
    "config": _document_target("config.json", _read_config),
    "settings": _document_target("tokenizer_config.json", _read_settings, template="chatml", template_file=False),
    "template": Target(
        "chat_template.jinja",
        _template_seeds,
        read_folder,
        parser=_read_settings,
        whole_every=20,
        prepare=lambda folder: tiny_model_folder(
            folder, 4, template="chatml", template_file=True, pre_tokenizer="deepseek-llm"
        ),
    ),
    "generation": _document_target("generation_config.json", _read_settings),
}
