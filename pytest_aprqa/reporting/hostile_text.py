"""Text of models and files, made safe for XML, Markdown and a terminal. Such text is hostile: it may try to be markup.

What cannot be shown is written visibly (an escape character becomes the four characters \\x1b), never dropped.
"""

from __future__ import annotations

import re
import unicodedata

ELLIPSIS = "..."

# Legal in XML 1.0: tab, newline, return and the three ranges below. DEL and C1 controls are legal but discouraged, and
# a parser silently turns a return into a newline, so these become visible as well.
_NOT_XML = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Controls, line separators, surrogates, non-characters, and the marks that reorder, hide or tag the text around them.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_MARKDOWN_STRUCTURE = re.compile(
    r"[&<>`*\[\]|~\\$@\"]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.", re.IGNORECASE
)
# What makes a heading, a list, a rule or a block of code of a line that starts with it.
_MARKDOWN_START = re.compile(r"^(?:[ \t]+|[#+=-](?=[#+=\- \t]|$)|\d{1,9}[.)](?=[ \t]|$))")
_CODE_STRUCTURE = re.compile(r"[^A-Za-z0-9 .,;=/+()'%^-]")
_PLAIN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./:,=+\[\]-]*")


def visible(character: str) -> str:
    r"""One character as an escape that can be read: `\x1b`, `\u202e`, `\U000e0041`."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def for_xml(text: str) -> str:
    r"""Text with every character that XML 1.0 forbids, DEL and C1 controls as visible escapes; CR LF becomes LF."""
    return _NOT_XML.sub(lambda match: visible(match[0]), text.replace("\r\n", "\n"))


def one_line(text: str, limit: int | None = None) -> str:
    r"""Text on one line without controls: newlines as `\n`, tabs as a space, others as escapes; clipped to LIMIT."""
    spelled = text.replace("\r\n", "\n").replace("\n", "\\n").replace("\t", " ")
    shown = _INVISIBLE.sub(lambda match: visible(match[0]), spelled)
    return shown if limit is None else clipped(shown, limit)


def clipped(text: str, limit: int) -> str:
    """Text of at most LIMIT characters, the end replaced by three dots where it was longer."""
    return text if len(text) <= limit else text[: max(0, limit - len(ELLIPSIS))] + ELLIPSIS[: max(0, limit)]


def for_terminal(text: str, *, unicode: bool = True) -> str:
    """One line that cannot move the cursor, change colours or reorder its neighbours; ASCII only on demand."""
    line = one_line(text)
    return line if unicode else "".join(c if c < "\x7f" else visible(c) for c in line)


def columns(text: str) -> int:
    """Terminal columns that a line takes: wide East Asian characters count two, combining marks none."""
    return sum(_character_columns(character) for character in text)


def fitted(text: str, width: int) -> str:
    """A line cut to at most WIDTH terminal columns, ending in three dots where it was longer."""
    if columns(text) <= width:
        return text
    taken, used = [], 0
    for character in text:
        used += _character_columns(character)
        if used > width - len(ELLIPSIS):
            break
        taken.append(character)
    return "".join(taken) + ELLIPSIS[: max(0, width)]


def _character_columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def markdown_text(text: str, limit: int | None = None) -> str:
    """Text for a Markdown line or table cell: no markup, link, HTML or further column can come out of it."""
    line = _MARKDOWN_STRUCTURE.sub(_reference, one_line(text, limit))
    return _MARKDOWN_START.sub(lambda match: match[0][:-1] + _reference(match[0][-1]), line)


def _reference(character: re.Match[str] | str) -> str:
    return f"&#{ord(character[0])};"


def markdown_code(text: str, limit: int | None = None) -> str:
    """Text as inline code. Identifiers in backticks; anything else in `<code>` with character references."""
    line = one_line(text, limit)
    if _PLAIN_WORD.fullmatch(line):
        return f"`{line}`"
    return f"<code>{_CODE_STRUCTURE.sub(lambda match: f'&#{ord(match[0])};', line)}</code>"


def markdown_block(text: str) -> str:
    """Lines as a fenced block whose fence is longer than any run of backticks inside; line ends are kept."""
    lines = [one_line(line) for line in text.replace("\r\n", "\n").split("\n")]
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])
