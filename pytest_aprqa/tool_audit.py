"""The `apr` program over files that were made of known models: its tools, its answers held against file and source."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engines.apr_known_defects import KnownDefect, Observation, Sign
    from pytest_aprqa.engines.apr_program import AprProgram
    from pytest_aprqa.engines.apr_tool import ToolResult

NOT_SHOWN = "not shown by these files"


@dataclass(frozen=True, slots=True)
class Line:
    """One known defect on these files: for each sign, what was observed; empty where nothing shows it."""

    defect: KnownDefect
    seen: tuple[tuple[Sign, tuple[Observation, ...]], ...]

    @property
    def red(self) -> bool:
        """Every sign of the defect was found."""
        return all(found for _, found in self.seen)


def source_of(model: Path, against: Path) -> Path | None:
    """The folder of the model that a file was made of: AGAINST, or the one in it that the file's name begins with.

    None where AGAINST holds no such model.
    """
    from pytest_aprqa.models.location import find_artifact_file

    if find_artifact_file(against, "safetensors") is not None:
        return against
    found = [
        f for f in against.iterdir() if f.is_dir() and (model.name == f.name or model.name.startswith(f"{f.name}."))
    ]
    found = [folder for folder in found if find_artifact_file(folder, "safetensors") is not None]
    return max(found, key=lambda folder: len(folder.name), default=None)


def audit(program: AprProgram, model: Path, source: Path | None, *, no_gpu: bool, serve: bool) -> Iterator[ToolResult]:
    """Every tool on one file; with a source also what the program says about it, held against file and source."""
    from pytest_aprqa.engines.apr_arguments import model_file
    from pytest_aprqa.engines.apr_claims import check_claims
    from pytest_aprqa.engines.apr_tool import Given
    from pytest_aprqa.engines.apr_tools import run_tools

    file = model_file(model)
    weights = None if source is None or source.resolve() == model.resolve() else model_file(source)
    yield from run_tools(program, file, no_gpu=no_gpu, serve=serve, source=weights)
    if source is None:
        return
    with tempfile.TemporaryDirectory(prefix="aprqa-claims-") as folder:
        device = ("--no-gpu",) if no_gpu else ()
        yield from check_claims(program, Given(file, device, model_file(source), Path(folder)), file.suffix == ".apr")


def compared(models: Sequence[Path], against: Path, depth: str) -> Iterator[Observation]:
    """What `aprqa check` finds in each file that was made of a model in AGAINST; no model is compared with itself."""
    from pytest_aprqa.artifact_check import check
    from pytest_aprqa.engines.apr_known_defects import Observation

    by_source: dict[Path, list[Path]] = {}
    for model in models:
        source = source_of(model, against)
        if source is not None and source.resolve() != model.resolve():
            by_source.setdefault(source, []).append(model)
    for source, files in by_source.items():
        for finding in check(files, source, depth).findings:
            words = f"{finding.where}: {finding.cause}"
            yield Observation(Path(finding.artifact).name, finding.gate, words)


def known_lines(observations: Sequence[Observation]) -> list[Line]:
    """Each known defect of the release with what shows it, in their order."""
    from pytest_aprqa.engines.apr_known_defects import KNOWN_DEFECTS

    return [
        Line(defect, tuple((sign, tuple(sign.of(observations))) for sign in defect.signs)) for defect in KNOWN_DEFECTS
    ]


def show_lines(lines: Sequence[Line], style: Callable[..., str]) -> Iterator[str]:
    """The known defects as text: each with its state, then each sign with the first file that shows it."""
    for number, line in enumerate(lines, 1):
        some = any(found for _, found in line.seen)
        word, colour = ("RED", "red") if line.red else ("PARTLY RED", "red") if some else ("not shown", "yellow")
        yield f"{number:>3}. {style(word, fg=colour, bold=True)} {line.defect.what}"
        for sign, found in line.seen:
            if not found:
                yield f"       {sign.check}: {NOT_SHOWN}"
                continue
            files = list(dict.fromkeys(one.file for one in found))
            more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
            yield f"       {sign.check}: {files[0]}{more}: {found[0].words}"
