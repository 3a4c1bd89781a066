"""Errors of this room: one line with file, field, what was found, what is allowed, what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class ModelError(ValueError):
    """A model's configuration, tokenizer or template cannot be used."""

    def __init__(
        self,
        path: Path | str,
        where: str,
        problem: str,
        *,
        found: Any = None,
        limit: Any = None,
        advice: str | None = None,
    ) -> None:
        self.path = str(path)
        self.where = where
        self.problem = problem
        self.found = found
        self.limit = limit
        self.advice = advice
        facts = [f"{name} {value}" for name, value in (("found", found), ("limit", limit)) if value is not None]
        text = f"{path}: {where}: {problem}" if where else f"{path}: {problem}"
        text += f" ({', '.join(facts)})" if facts else ""
        text += f"; {advice}" if advice else ""
        super().__init__(" ".join(text.split()))


class TokenizerPanic(ModelError):
    """The tokenizer library panicked on a text or on ids. Inside an engine that is a crash, not a refusal."""


class ModelNotFound(ModelError):
    """No place holds the model. `places` lists every place looked at, `command` gets the model."""

    def __init__(self, repo: str, places: list[str], command: str) -> None:
        self.repo = repo
        self.places = places
        self.command = command
        looked = "; ".join(places)
        super().__init__(repo, "", f"model not found; looked at: {looked}", advice=f"get it with: {command}")
