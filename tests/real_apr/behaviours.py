"""What the released program says that cannot be believed, measured: each with what we do instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.real_apr.real_program import Apr


@dataclass(frozen=True)
class Behaviour:
    """`measure(program, Hugging Face folder, folder of made files)` gives the program's words, on one line."""

    what: str
    ours: str
    measure: Callable[[Apr, Path, Path], str]


def _fingerprint(apr: Apr, source: Path, files: Path) -> str:
    prints = apr("rosetta", "fingerprint", files / "import-fp16.apr", "--json").json()["fingerprints"]
    keys = ("mean", "std", "min", "max", "checksum")
    return f"{len(prints)} tensors, other than 0: {sum(bool(row[key]) for row in prints for key in keys)}"


def _validate_stats(apr: Apr, source: Path, files: Path) -> str:
    other = files / "other-model.apr"
    answer = apr("rosetta", "validate-stats", files / "import-fp16.apr", "--reference", other)
    verdict = "All tensors within expected statistical bounds" if "within expected" in answer.said else answer.said
    return f"exit {answer.status}, {verdict}"


def _qa(apr: Apr, source: Path, files: Path) -> str:
    answer = apr("qa", source / "model.safetensors", "--json")
    return f"exit {answer.status}" + (", panicked" if "panicked" in answer.said else "")


def _compare_inference(apr: Apr, source: Path, files: Path) -> str:
    answer = apr("rosetta", "compare-inference", files / "import-fp16.apr", files / "import.apr", "--prompt", "hi")
    return f"exit {answer.status}, {answer.said.partition('error: ')[2][:80]}"


def _validate(apr: Apr, source: Path, files: Path) -> str:
    told = apr("validate", files / "import.apr", "--json").json()
    return f"{told['total_score']} points, {told['checks_ran']} checks ran, {told['checks_not_implemented']} did not"


def _wrapped(apr: Apr, source: Path, files: Path) -> str:
    arguments = ("--prompt=What is 2+2?", "--max-tokens", "1", "--no-gpu", "--json")
    paths = (source / "model.safetensors", files / "import.apr")
    counts = [apr("run", path, *arguments).json()["prompt_tokens"] for path in paths]
    return f"prompt tokens of one prompt: {counts[0]} from the folder, {counts[1]} from the APR file made of it"


def _compressed(apr: Apr, source: Path, files: Path) -> str:
    sizes = [(files / name).stat().st_size for name in ("import-fp16.apr", "convert-zstd.apr")]
    return f"exit 0; {sizes[0]} bytes before, {sizes[1]} bytes after"


def _half_precision(apr: Apr, source: Path, files: Path) -> str:
    sizes = [(files / name).stat().st_size for name in ("import-fp16.apr", "export-fp16.gguf", "export-int8.gguf")]
    return f"exit 0; F16 file {sizes[0]} bytes, exported as fp16 {sizes[1]} bytes, as int8 {sizes[2]} bytes"


def _misnamed(apr: Apr, source: Path, files: Path) -> str:
    return f"exit 0; the file begins with {(files / 'quantize-q4k.safetensors').read_bytes()[:4]!r}"


BEHAVIOURS: dict[str, Behaviour] = {
    "rosetta fingerprint": Behaviour(
        "Statistics of every tensor are 0 and the exit status is 0.", "Statistics are our own (I-4).", _fingerprint
    ),
    "rosetta validate-stats": Behaviour(
        "Passes any two files, here two different models.",
        "Every tensor is compared with the source (I-4).",
        _validate_stats,
    ),
    "qa": Behaviour("Panics on SafeTensors.", "A crash of a program is Crashed, never passed.", _qa),
    "rosetta compare-inference": Behaviour(
        "Calls a program that is not part of the release.",
        "Ids are compared with transformers' (I-1).",
        _compare_inference,
    ),
    "validate": Behaviour(
        "Full marks for a fifth of its checks.", "What did not run is not proven and counts for nothing.", _validate
    ),
    "run": Behaviour(
        "Wraps the prompt in a chat template for SafeTensors, even for completion.",
        "Prompt ids are evidence of every item; a template is applied once, and only for chat.",
        _wrapped,
    ),
    "convert --compress zstd": Behaviour(
        "Compresses nothing and doubles the file.",
        "The file is judged by what it holds: F32, and no tokenizer any more (I-5).",
        _compressed,
    ),
    "export --format gguf --quantize": Behaviour(
        "fp16 and int8 are written as F32.",
        "The file declares F32 and is judged as F32: I-4 finds the values that went through F16.",
        _half_precision,
    ),
    "quantize --format safetensors": Behaviour(
        "Writes an APR file under the name .safetensors.",
        "The first bytes decide what a file is, not its name.",
        _misnamed,
    ),
}


def measured(apr: Apr, source: Path, files: Path) -> dict[str, str]:
    """The program's words for each of BEHAVIOURS. FILES holds what `make_files` makes and `other-model.apr`."""
    return {name: behaviour.measure(apr, source, files) for name, behaviour in BEHAVIOURS.items()}
