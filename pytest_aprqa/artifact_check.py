"""Is this file really that model? The suite's comparisons, run on a playbook made on the spot, as one answer.

Used by `aprqa check`; the run is a pytest process of its own, so it can be called from anywhere, tests included.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.evidence.collection_record import NOT_TRIED as NOT_TRIED_REASON
from pytest_aprqa.marks import DEPTHS

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

NOT_REFUTED, REFUTED, NOT_TRIED = "not refuted", "refuted", "not tried"
EXIT_CODES = {NOT_REFUTED: 0, REFUTED: 1, NOT_TRIED: 2}
TIMEOUT_MS = 300_000  # of one prompt or one text: a large model on a slow processor is no finding
# Ordinary texts; a model that answers nonsense is compared all the same, only with its source.
PROMPTS = ("What is 2+2?", "Hello", "def add(a, b):", "The capital of France is")
MAX_TOKENS = 16
FORMAT_NAMES = {"gguf": "a GGUF file", "apr": "an APR file", "safetensors": "a SafeTensors file"}
# What may stand beside weights and belongs to them: configuration, tokenizer, template.
_COMPANIONS = (".json", ".jinja", ".model", ".txt")
_MAGICS = ((b"GGUF", "gguf"), (b"APR", "apr"))
_MESSAGE_LIMIT = 600
_READ_AHEAD = 0.5  # of the memory that is available: what is read first must still be there when it is needed
# Plugins that the comparison has no use for; importing them takes longer than comparing the structure.
_LEFT_OUT = ("anyio", "html", "hypothesispytest", "metadata", "randomly", "xdist")
# Pieces of tensors are used again at once: memory given back to the system between them costs as much as reading them.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(64 << 20)}

OnEvent = Callable[[Mapping[str, Any]], None]


class CheckError(ValueError):
    """The check could not be started: a path, a depth or the run itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One refutation. `where`: tensor, layer, token or field; `do`: what the reader should do."""

    artifact: str
    gate: str
    cause: str
    where: str
    found: Any
    limit: Any
    message: str
    do: str | None = None


@dataclass(slots=True)
class CheckResult:
    """`tried`: {artifact, gate, depth, what, outcome}; `not_tried`: {artifact, gate, depth, what, reason}.

    `could_not` in a row of `not_tried`: the check was to look and could not, so that its depth counts as not tried.
    """

    against: str
    depth: str
    findings: list[Finding] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)
    not_tried: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[str] = field(default_factory=list)
    formats: dict[str, str] = field(default_factory=dict)

    def misnamed(self, artifact: str) -> str | None:
        """What the file really is where its name says another format, `an APR file named .safetensors`; else None."""
        suffix = Path(artifact).suffix.lower()
        kind = self.formats.get(artifact)
        if kind is None or suffix.removeprefix(".") not in FORMAT_NAMES or suffix == f".{kind}":
            return None
        return f"{FORMAT_NAMES[kind]} named {suffix}"

    def verdict_of(self, artifact: str) -> str:
        """The verdict on one artifact; not refuted only if the asked depth was tried and no check of it broke."""
        if any(finding.artifact == artifact for finding in self.findings):
            return REFUTED
        reached = any(row["artifact"] == artifact and row["depth"] == self.depth for row in self.tried)
        broken = any(row["artifact"] == artifact and row.get("could_not") for row in self.not_tried)
        return NOT_REFUTED if reached and not broken else NOT_TRIED

    def tried_up_to(self, artifact: str) -> str | None:
        """The deepest depth of which something was tried, and no check up to it broke; None: not even the first."""
        reached = None
        for depth in DEPTHS:
            if any(_is_at(row, artifact, depth) and row.get("could_not") for row in self.not_tried):
                return reached
            if any(_is_at(row, artifact, depth) for row in self.tried):
                reached = depth
        return reached

    @property
    def verdict(self) -> str:
        """`refuted` if one artifact is; else `not tried` if one could not be tried; else `not refuted`."""
        verdicts = {self.verdict_of(artifact) for artifact in self.artifacts}
        return next((v for v in (REFUTED, NOT_TRIED) if v in verdicts), NOT_REFUTED if verdicts else NOT_TRIED)

    @property
    def exit_code(self) -> int:
        """0 nothing refuted, 1 refuted, 2 something could not be tried."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain data, the verdict first."""
        return {
            "verdict": self.verdict,
            "against": self.against,
            "depth": self.depth,
            "artifacts": [
                {
                    "path": path,
                    "verdict": self.verdict_of(path),
                    "format": self.formats.get(path),
                    "tried_up_to": self.tried_up_to(path),
                }
                for path in self.artifacts
            ],
            "findings": [asdict(finding) for finding in self.findings],
            "tried": self.tried,
            "not_tried": self.not_tried,
        }


def check(
    artifacts: Sequence[Path],
    against: Path,
    depth: str = DEPTHS[-1],
    *,
    on_event: OnEvent = lambda event: None,
    environ: Mapping[str, str] | None = None,
    prompts: Sequence[str] = PROMPTS,
) -> CheckResult:
    """Try to refute that each of `artifacts` is the SafeTensors model in folder `against`, up to `depth`.

    What cannot be tried (no such file, no such folder) is in the result, not an exception. CheckError: unknown depth,
    or the run itself failed.
    """
    if depth not in DEPTHS:
        raise CheckError(f"depth: found {depth!r}, limit {', '.join(DEPTHS)}")
    result = CheckResult(str(against), depth, artifacts=[str(path) for path in artifacts])
    problem = _source_problem(against)
    runnable = []
    for path in artifacts:
        reason = problem or _unreadable(path) or _same_as(path, against)
        if reason is None:
            runnable.append(path)
            result.formats[str(path)] = format_of(path)
        else:
            result.not_tried.append({"artifact": str(path), "gate": "", "depth": "", "what": "", "reason": reason})
    if runnable:
        with tempfile.TemporaryDirectory(prefix="aprqa-check-") as folder, _reading_ahead(runnable, against, depth):
            _run(Path(folder), runnable, against, result, on_event, environ, prompts)
    return result


def _reading_ahead(artifacts: Sequence[Path], against: Path, depth: str) -> AbstractContextManager[object]:
    """The disk reads weights that will be compared while the run starts, each artifact beside the source."""
    from psutil import virtual_memory

    from pytest_aprqa.formats.read_ahead import Part, ReadAhead, side_by_side

    if depth == DEPTHS[0]:
        return nullcontext()

    def parts() -> Iterator[Part]:
        source = _weight_files(against)
        for number, artifact in enumerate(artifacts):
            yield from side_by_side(_weight_files(artifact) + (source if number == 0 else []))

    return ReadAhead(parts(), int(virtual_memory().available * _READ_AHEAD))


def _weight_files(path: Path) -> list[Path]:
    """The files that hold its tensors, as far as they can be opened."""
    from pytest_aprqa.formats.opening import open_tensor_file

    try:
        with open_tensor_file(path) as file:
            return list(file.files)
    except (OSError, ValueError):
        return []  # the run says what is wrong


def _source_problem(against: Path) -> str | None:
    """Why nothing can be compared with the folder, or None."""
    from pytest_aprqa.models.artifact import Artifact, open_artifact
    from pytest_aprqa.models.location import find_artifact_file

    if not against.exists():
        return f"--against {against}: no such folder"
    try:
        found = find_artifact_file(against, "safetensors")
        if found is None:
            return f"--against {against}: no SafeTensors model there"
        with open_artifact(Artifact("safetensors", found, "published", "")) as source:
            _ = (source.config, source.tensors)
    except (OSError, ValueError) as error:
        return f"--against {against}: {error}"
    return None


def _unreadable(path: Path) -> str | None:
    if not path.exists():
        return f"{path}: no such file"
    if not (path.is_file() or path.is_dir()):
        return f"{path}: neither a file nor a folder"
    if not os.access(path, os.R_OK):
        return f"{path}: cannot be read (permission denied)"
    if path.is_dir() and not any(path.glob("*.safetensors")):
        return f"{path}: a folder without SafeTensors; name the GGUF or APR file itself"
    return None


def _same_as(path: Path, against: Path) -> str | None:
    folder = path if path.is_dir() else path.parent
    if format_of(path) == "safetensors" and folder.resolve() == against.resolve():
        return f"{path}: is the source itself; that it equals itself proves nothing"
    return None


def format_of(path: Path) -> str:
    """gguf, apr or safetensors: by the first bytes, else by the name; what is neither is judged as SafeTensors."""
    if path.is_dir() or path.name.endswith(".index.json"):
        return "safetensors"
    with path.open("rb") as stream:
        head = stream.read(4)
    for magic, name in _MAGICS:
        if head.startswith(magic):
            return name
    suffix = path.suffix.lower().removeprefix(".")
    return suffix if suffix in ("gguf", "apr") else "safetensors"


def _run(
    folder: Path,
    artifacts: Sequence[Path],
    against: Path,
    result: CheckResult,
    on_event: OnEvent,
    environ: Mapping[str, str] | None,
    prompts: Sequence[str],
) -> None:
    """One pytest process over one playbook for each artifact; its evidence becomes the result."""
    playbooks = {
        f"artifact-{n:03d}": _write_playbook(folder, f"artifact-{n:03d}", path, prompts)
        for n, path in enumerate(artifacts)
    }
    owner = dict(zip(playbooks, (str(path) for path in artifacts), strict=True))
    arguments = ["-p", "pytest_aprqa.plugin"] if not _is_announced() else []
    arguments += ["-p", "pytest_aprqa.check_events", "-p", "no:cacheprovider", "-c", str(folder / "pytest.ini")]
    arguments += [f"-pno:{name}" for name in _LEFT_OUT]
    arguments += ["-q", "-q", "--tb=no", "--failure-policy=collect-all"]
    arguments += ["--against", os.path.abspath(against), "--depth", result.depth, "--evidence-dir", str(folder / "run")]
    for path in playbooks.values():
        arguments += ["--playbook", str(path)]
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    said = _run_pytest(folder, arguments, on_event, environ)
    try:
        entries = _evidence(folder / "run")
    except (OSError, ValueError) as error:
        raise CheckError(f"the check did not run: {said or error}") from None
    _file(entries, owner, result)


def _is_announced() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == "pytest_aprqa.plugin" for point in entry_points(group="pytest11"))


def _write_playbook(folder: Path, name: str, artifact: Path, prompts: Sequence[str]) -> Path:
    """A playbook over one file as it stands; types are those that the file declares."""
    format_name = format_of(artifact)
    document = {
        "name": name,
        "version": "1.0.0",
        "model": {
            "hf_repo": "checked/artifact",
            "local_path": str(_named_by_format(folder, name, artifact, format_name)),
            "formats": [format_name],
            "quantizations": ["declared"],
            "size_category": "auto",
        },
        "test_matrix": {
            "modalities": ["run"],
            "backends": ["cpu"],
            "scenario_count": len(prompts),
            "prompts": list(prompts),
            "max_tokens": MAX_TOKENS,
            "timeout_ms": TIMEOUT_MS,
        },
        "failure_policy": "collect_all",
    }
    path = folder / f"{name}.playbook.yaml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")  # JSON is YAML
    return path


def _named_by_format(folder: Path, name: str, artifact: Path, format_name: str) -> Path:
    """The file under a name that says its format: itself, or a folder with a link to it and what lies beside it."""
    absolute = Path(os.path.abspath(artifact))
    right = absolute.is_dir() or absolute.suffix == f".{format_name}" or absolute.name.endswith(".index.json")
    if right and str(absolute).isprintable():
        return absolute
    # A folder: a playbook follows links of the path itself, to a file whose name says another format.
    place = folder / name
    place.mkdir()
    (place / f"model.{format_name}").symlink_to(absolute)
    if format_name == "safetensors":
        for path in sorted(absolute.parent.iterdir()):
            if path.suffix in _COMPANIONS and not path.name.endswith(".index.json"):
                (place / path.name).symlink_to(path)
    return place


def _run_pytest(folder: Path, arguments: list[str], on_event: OnEvent, environ: Mapping[str, str] | None) -> str:
    """Run pytest, hand on what it tells; its last words on standard error or output."""
    from pytest_aprqa.check_events import EVENTS_VARIABLE

    reading, writing = os.pipe()
    values = _ALLOCATOR | dict(os.environ if environ is None else environ) | {EVENTS_VARIABLE: str(writing)}
    values.pop("PYTEST_ADDOPTS", None)
    package = str(Path(__file__).resolve().parents[1])
    values["PYTHONPATH"] = os.pathsep.join(p for p in (package, values.get("PYTHONPATH", "")) if p)
    output = folder / "output.txt"
    with output.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=folder, env=values, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT,
            pass_fds=(writing,),
        )  # fmt: skip
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as events:
            for line in events:
                on_event(json.loads(line))
        child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise
    return " ".join(output.read_text(encoding="utf-8", errors="replace").split())[-_MESSAGE_LIMIT:]


def _evidence(folder: Path) -> list[Evidence]:
    from pytest_aprqa.evidence.log import read_log

    return list(read_log(folder / "evidence.jsonl"))


def _file(entries: Iterable[Evidence], owner: Mapping[str, str], result: CheckResult) -> None:
    """Sort the evidence into findings, tried and not tried."""
    for entry in entries:
        artifact = owner[entry.playbook or ""]
        row = {
            "artifact": artifact,
            "gate": entry.gate_id,
            "depth": entry.metadata.get("depth", ""),
            "what": entry.title or entry.check or "",
        }
        if entry.outcome.value == "Skipped" or "unexpected" in entry.metadata:
            # An exception that nobody foresaw says something about this program, not about the artifact.
            could_not = "unexpected" in entry.metadata or entry.reason.startswith(NOT_TRIED_REASON)
            result.not_tried.append(row | {"reason": entry.reason} | ({"could_not": True} if could_not else {}))
            continue
        result.tried.append(row | {"outcome": entry.outcome.value, "observed": _numbers(entry)})
        if entry.outcome.failed:
            result.findings += _findings(entry, artifact)
    for depth in DEPTHS[DEPTHS.index(result.depth) + 1 :]:
        for artifact in owner.values():
            row = {"artifact": artifact, "gate": "", "depth": depth, "what": f"comparison of {depth}"}
            result.not_tried.append(row | {"reason": f"not asked for: --depth {result.depth}"})


def _is_at(row: Mapping[str, Any], artifact: str, depth: str) -> bool:
    return bool(row["artifact"] == artifact and row["depth"] == depth)


def _numbers(entry: Evidence) -> dict[str, Any]:
    return {v["name"]: v["value"] for v in entry.observed if "cause" not in v and v["name"] != "warning"}


def _findings(entry: Evidence, artifact: str) -> list[Finding]:
    """The places that the check named; a check that named none is one finding about the whole file."""
    named = [value for value in entry.observed if "cause" in value]
    if not named:
        cause = {"Crashed": "the engine crashed", "Timeout": "the time limit was reached"}
        word = cause.get(entry.outcome.value, entry.title or entry.gate_id)
        return [Finding(artifact, entry.gate_id, word, artifact, entry.reason, None, entry.reason, entry.advice)]
    return [
        Finding(artifact, entry.gate_id, v["cause"], v["name"], v["value"], v["limit"], entry.reason, entry.advice)
        for v in named
    ]
