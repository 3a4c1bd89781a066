"""Do brackets and quotes balance: the syntax check of languages that we have no parser for."""

from __future__ import annotations

import re

PAIRS = {")": "(", "]": "[", "}": "{"}
# What may hold brackets without meaning them; the first that matches at a place.
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_CHARACTER = re.compile(r"'(?:\\(?:u\{?[0-9A-Fa-f]+\}?|x[0-9A-Fa-f]{2}|.)|[^\\'\n])'")
_SINGLE_QUOTED = re.compile(r"'(?:\\.|[^\\'\n])*'")


def unbalanced(text: str, *, language: str = "other", allow_open: bool = False) -> str | None:
    """The first bracket or quote without its partner, or None. `allow_open`: the text was cut off at its end.

    Comments are left out. In Rust `'a` is a lifetime and a text may run over lines; elsewhere `'` encloses texts.
    """
    apostrophe = _CHARACTER if language == "rust" else _SINGLE_QUOTED
    stack: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        skipped = _COMMENT.match(text, position) or (apostrophe.match(text, position) if character == "'" else None)
        if skipped:
            position = skipped.end()
            continue
        if character in '"`':
            end, problem = _end_of_quote(text, position, over_lines=character == "`" or language == "rust")
            if end is None:
                return None if allow_open and problem is None else problem or f"a text in {character} is not closed"
            position = end
            continue
        if character in PAIRS.values():
            stack.append(character)
        elif character in PAIRS and (not stack or stack.pop() != PAIRS[character]):
            return f"{character} without its partner"
        position += 1
    return f"{stack[-1]} is not closed" if stack and not allow_open else None


def _end_of_quote(text: str, start: int, *, over_lines: bool) -> tuple[int | None, str | None]:
    """(place behind the closing quote or None, problem): no place and no problem means that the text ends first."""
    position = start + 1
    while position < len(text):
        if text[position] == "\\":
            position += 2
            continue
        if text[position] == text[start]:
            return position + 1, None
        if text[position] == "\n" and not over_lines:
            return None, f"a text in {text[start]} is not closed"
        position += 1
    return None, None
