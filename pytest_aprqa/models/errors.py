"""Errors of this room: one line with file, field, what was found, what is allowed, what to do."""

from __future__ import annotations

from pytest_aprqa.formats.errors import LocatedError


class ModelError(LocatedError):
    """A model's configuration, tokenizer or template cannot be used."""


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
