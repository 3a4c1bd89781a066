"""The one order of precedence of a setting: command-line option, ini key, playbook field, default."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")

SOURCES = ("option", "ini", "playbook", "default")


def resolve(option: T | None, ini: T | None, playbook: T | None, default: T) -> tuple[T, str]:
    """The value that counts and its source, one of SOURCES. None means not given; 0, False and "" are given."""
    for value, source in zip((option, ini, playbook), SOURCES, strict=False):
        if value is not None:
            return value, source
    return default, "default"
