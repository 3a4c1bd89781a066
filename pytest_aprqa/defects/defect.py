"""One seeded defect, and how it gets onto a copy without ever touching the source."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_aprqa.defects.errors import DefectError


@dataclass(frozen=True, slots=True)
class Defect:
    """A real-world defect.

    `format`: the artifact it is made in ("safetensors": a model folder, "apr" or "gguf": a file). `gateway`: what is
    expected to notice it ("G0".."G4", "I-1".."I-5", or "F-A": the oracles of the scenarios, for answers that are wrong
    but clean). `origin`: where it was seen. `operation` changes an artifact in place and is only ever given copies.
    `before`: what the clean model needs so that this can happen to it (BOS, a head of its own), done to a copy of the
    source. `base`: the element type that the clean file must be derived in (None: the source's own). `prompts`: how
    many prompts `--falsify` asks the broken copy (None: its default), fewer where an answer takes the whole time limit.
    `derived`: the broken file passes for one that our own converter made.
    """

    name: str
    title: str
    origin: str
    format: str
    gateway: str
    operation: Callable[[Path], None]
    base: str | None = None
    prompts: int | None = None
    before: Callable[[Path], None] | None = None
    derived: bool = False

    def to_json(self) -> dict[str, str]:
        """Name, title, origin, format and expected gateway."""
        fields = ("name", "title", "origin", "format", "gateway")
        return {name: getattr(self, name) for name in fields}

    def prepare(self, source: Path, target: Path) -> Path:
        """The clean source folder of this defect: `source` itself, or a copy at `target` with `before` done to it."""
        if self.before is None:
            return source
        _copy(source, target)
        self.before(target)
        return target

    def apply(self, source: Path, target: Path) -> Path:
        """Copy `source` to `target` (must not exist), break the copy, return it. On failure nothing is left.

        Raises DefectError for a wrong kind of source, DefectNotApplicableError when the model has nothing to break.
        """
        if source.is_dir() != (self.format == "safetensors"):
            wanted = "a model folder" if self.format == "safetensors" else f"a .{self.format} file"
            raise DefectError(source, self.name, f"needs {wanted}")
        if target.exists():
            raise DefectError(target, self.name, "target exists already", "name a new path")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            _copy(source, target)
            self.operation(target)
        except BaseException:
            _remove(target)
            raise
        return target


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        # Links (Hugging Face cache) become files: an edit of the copy must not reach what they point to.
        shutil.copytree(source, target, symlinks=False)
        _make_writable(target)
    else:
        shutil.copyfile(source, target)


def _make_writable(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def _remove(target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target, ignore_errors=True)
    else:
        target.unlink(missing_ok=True)
