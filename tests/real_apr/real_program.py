"""The released `apr` program for tests: where it is, one call, its JSON, greedy generation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RELEASE = "0.72.3"
LIMIT_S = 120


def find_apr() -> Path | None:
    """The program that APRQA_APR_BINARY or APR_BINARY names, else on PATH, else where cargo installs; or None."""
    named = os.environ.get("APRQA_APR_BINARY") or os.environ.get("APR_BINARY")
    if named:
        found = shutil.which(named)
        return Path(found).absolute() if found else None
    found = shutil.which("apr") or shutil.which("apr", path=str(Path.home() / ".cargo" / "bin"))
    return Path(found) if found else None


@dataclass(frozen=True)
class Answer:
    """What one call gave. `said` is both streams on one line, for messages and tables."""

    status: int
    stdout: str
    stderr: str

    @property
    def said(self) -> str:
        return " ".join((self.stderr + " " + self.stdout).split())

    def json(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Apr:
    """An `apr` program that runs without network and without cache of its own."""

    path: Path
    home: Path

    def __call__(self, *arguments: str | Path) -> Answer:
        environment = {**os.environ, "HOME": str(self.home), "NO_COLOR": "1"}
        done = subprocess.run(
            [str(self.path), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            cwd=self.home,
            timeout=LIMIT_S,
        )
        texts = (stream.decode("utf-8", "replace") for stream in (done.stdout, done.stderr))
        return Answer(done.returncode, *texts)

    def version(self) -> str:
        words = self("--version").stdout.split()
        return words[1] if len(words) > 1 else "unknown"

    def generate(self, model: Path, prompt: str, tokens: int = 16) -> dict[str, Any]:
        """The JSON of a greedy `run` on the processor; AssertionError with the program's words when it fails."""
        answer = self("run", model, f"--prompt={prompt}", "--max-tokens", str(tokens), "--no-gpu", "--json")
        assert answer.status == 0, answer.said[-500:]
        result: dict[str, Any] = answer.json()
        return result
