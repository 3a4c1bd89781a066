"""Takes terminal colours and program banners off an output before it is judged."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_BANNER = re.compile(r"^(?:===.*|.*\btok/s\b.*)$", re.MULTILINE)


def without_colours(text: str) -> str:
    """The text without ANSI escape sequences."""
    return _ANSI.sub("", text)


def without_banners(text: str) -> str:
    """The text without ANSI sequences, `===` headings and speed lines of the `apr` program."""
    return _BANNER.sub("", without_colours(text)).strip("\n")
