"""Takes terminal colours and program banners off an output before it is judged."""

from __future__ import annotations

import re

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_APR_RUN = re.compile(r"\s*=== APR Run ===\s*$", re.MULTILINE)
_APR_OUTPUT = re.compile(
    r"^Output:[ \t]*\r?\n(.*?)\s*(?:^Completed in [\d.]+ ?m?s\b[^\n]*\s*)?\Z", re.MULTILINE | re.DOTALL
)


def without_colours(text: str) -> str:
    """The text without ANSI escape sequences."""
    return _ANSI.sub("", text)


def without_banners(text: str) -> str:
    """The generated text of what `apr run` prints: empty when it printed statistics only. Other texts unchanged."""
    if not _APR_RUN.match(text):
        return text
    found = _APR_OUTPUT.search(text)
    return found[1] if found else ""


def cleaned(text: str) -> str:
    """The text without colours and banners: what the model wrote."""
    return without_banners(without_colours(text))
