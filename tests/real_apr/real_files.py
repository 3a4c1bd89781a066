"""Files that the released program writes, and what is said about each: by our checks, and by the program itself.

`docs/generate_real_files.py` makes the reference page from it; `test_real_files.py` asserts the rows of that page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_aprqa.artifact_check import check
from pytest_aprqa.formats.opening import open_tensor_file
from tests.real_apr.real_program import Apr

PROMPT = "What is 2+2?"
#: file -> the command that makes it, in order: later ones read earlier ones. SOURCE is the Hugging Face folder.
RECIPES: dict[str, str] = {
    "import.apr": "import SOURCE -o import.apr",
    "import-fp16.apr": "import SOURCE --quantize fp16 -o import-fp16.apr",
    "import-int8.apr": "import SOURCE --quantize int8 -o import-int8.apr",
    "import-int4.apr": "import SOURCE --quantize int4 -o import-int4.apr",
    "convert-fp16.apr": "convert import-fp16.apr --quantize fp16 -o convert-fp16.apr",
    "convert-int8.apr": "convert import-fp16.apr --quantize int8 -o convert-int8.apr",
    "convert-q4k.apr": "convert import-fp16.apr --quantize q4k -o convert-q4k.apr",
    "convert-zstd.apr": "convert import-fp16.apr --compress zstd -o convert-zstd.apr",
    "export.gguf": "export import.apr --format gguf -o export.gguf",
    "export-fp16.gguf": "export import-fp16.apr --format gguf --quantize fp16 -o export-fp16.gguf",
    "export-int8.gguf": "export import-fp16.apr --format gguf --quantize int8 -o export-int8.gguf",
    "export-int4.gguf": "export import-fp16.apr --format gguf --quantize int4 -o export-int4.gguf",
    "export.safetensors": "export import.apr --format safetensors -o export.safetensors",
    "export-int8.safetensors": "export import-fp16.apr --format safetensors --quantize int8 -o export-int8.safetensors",
    "export-int4.safetensors": "export import-fp16.apr --format safetensors --quantize int4 -o export-int4.safetensors",
    "quantize-int8.safetensors": "quantize import-fp16.apr -s int8 --format safetensors -o quantize-int8.safetensors",
    "quantize-int4.safetensors": "quantize import-fp16.apr -s int4 --format safetensors -o quantize-int4.safetensors",
    "quantize-q4k.safetensors": "quantize import-fp16.apr -s q4k --format safetensors -o quantize-q4k.safetensors",
    "from-gguf.apr": "import export-fp16.gguf -o from-gguf.apr",
    "from-gguf-q4k.apr": "import export-int4.gguf --preserve-q4k -o from-gguf-q4k.apr",
    "rosetta.gguf": "rosetta convert import-fp16.apr rosetta.gguf",
    "stamp.apr": "stamp import.apr -o stamp.apr --license MIT --data-source made --data-license CC0-1.0",
}


@dataclass
class Row:
    """One file. `ours`: distinct {gate, cause, message}; `program`: what it said, by command."""

    file: str
    made_by: str
    verdict: str
    ours: list[dict[str, str]] = field(default_factory=list)
    program: dict[str, str] = field(default_factory=dict)

    def gates(self) -> list[str]:
        """The gates that refute the file (or could not try, or only warn), sorted."""
        return sorted({finding["gate"] for finding in self.ours})


def make_files(apr: Apr, source: Path, folder: Path) -> dict[str, str]:
    """Make every file of RECIPES in FOLDER (absolute paths for the program); file -> command that made it.

    AssertionError with the program's words when one cannot be made.
    """
    for name, command in RECIPES.items():
        words = [str(source) if word == "SOURCE" else word for word in command.split()]
        words = [str(folder / word) if word in RECIPES else word for word in words]
        answer = apr(*words)
        assert answer.status == 0, f"{command}: {answer.said[-300:]}"
        assert (folder / name).is_file(), command
    return {name: f"apr {command}" for name, command in RECIPES.items()}


def rows_of(apr: Apr, source: Path, files: Iterable[Path], made_by: dict[str, str], depth: str = "text") -> list[Row]:
    """A row for each of FILES, judged against the model in SOURCE as `aprqa check FILE --against SOURCE` does."""
    paths = list(files)
    result = check(paths, source, depth)
    rows = []
    for path in paths:
        row = Row(path.name, made_by.get(path.name, ""), result.verdict_of(str(path)))
        for finding in result.findings:
            if finding.artifact != str(path):
                continue
            message = _clean(finding.message, path.parent, source)
            entry = {"gate": finding.gate, "cause": _clean(finding.cause, path.parent, source), "message": message}
            if all((entry["gate"], entry["cause"]) != (old["gate"], old["cause"]) for old in row.ours):
                row.ours.append(entry)
        if row.verdict == "not tried":
            row.ours = _not_tried(result.not_tried, path, source)
        elif row.verdict == "not refuted":
            row.ours = _warnings(path)
        row.program = _program_says(apr, path)
        rows.append(row)
    return rows


def _not_tried(reasons: list[dict[str, Any]], path: Path, source: Path) -> list[dict[str, str]]:
    """Why nothing could be compared: the first gate that says so."""
    for entry in reasons:
        if entry["artifact"] == str(path) and entry["gate"] and not entry["reason"].startswith("not asked for"):
            message = _clean(entry["reason"], path.parent, source)
            return [{"gate": entry["gate"], "cause": "not tried", "message": message}]
    return []


def _warnings(path: Path) -> list[dict[str, str]]:
    with open_tensor_file(path) as file:
        notes = [_clean(line, path.parent) for line in file.warnings]
    return [{"gate": "warning", "cause": "not refuted", "message": note} for note in notes]


def _program_says(apr: Apr, path: Path) -> dict[str, str]:
    said = {}
    answer = apr("validate", path, "--json")
    told = _json(answer)
    if "verdict" in told:
        ran, left = told.get("checks_ran"), told.get("checks_not_implemented") or 0
        said["validate"] = f"{told['verdict']}, {told.get('total_score')} points ({ran} of {(ran or 0) + left} checks)"
    else:
        said["validate"] = _failure(answer, path)
    answer = apr("inspect", path, "--json")
    told = _json(answer)
    said["inspect"] = f"valid: {str(told['valid']).lower()}" if "valid" in told else _failure(answer, path)
    answer = apr("run", path, f"--prompt={PROMPT}", "--max-tokens", "8", "--no-gpu", "--json")
    told = _json(answer)
    if answer.status == 0 and "text" in told:
        said["run"] = f"exit 0, {told['text']!r}"
    else:
        error = told.get("error") if isinstance(told.get("error"), dict) else None
        said["run"] = f"exit {answer.status}, {error['kind']}" if error else _failure(answer, path)
    answer = apr("tensors", path, "--json")
    said["tensors"] = "exit 0" if answer.status == 0 else _failure(answer, path)
    return said


def _json(answer: Any) -> dict[str, Any]:
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _failure(answer: Any, path: Path) -> str:
    lines = [line.strip() for line in (answer.stderr + "\n" + answer.stdout).splitlines() if "rror" in line]
    words = _clean(lines[-1] if lines else "", path.parent).removeprefix("error: ")
    return f"exit {answer.status}" + (f", {words[:90]}" if words else "")


def _clean(text: str, *folders: Path) -> str:
    """TEXT on one line without the folders of this run."""
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(str(folder), "the source")
    return " ".join(text.split())


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Plain data of rows."""
    return [asdict(row) for row in rows]


def from_json(rows: Iterable[dict[str, Any]]) -> list[Row]:
    """Rows from plain data."""
    return [Row(**row) for row in rows]
