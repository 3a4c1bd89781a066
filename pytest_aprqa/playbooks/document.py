"""YAML text to plain data, hardened: no anchors, aliases, tags, duplicate keys; size, depth and node count bounded.

Reads PyYAML's events (the only module that imports it), so nothing is built unchecked; scalars by the YAML 1.2 rules.
"""

from __future__ import annotations

import difflib
import hashlib
import math
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_aprqa.playbooks.errors import KeyPath, PlaybookError

if TYPE_CHECKING:
    from yaml.events import CollectionStartEvent, Event, ScalarEvent

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 20_000
# Longer runs of digits stay text: no field of a playbook is that large, and int() of hostile text is quadratic.
MAX_DIGITS = 18

_INTEGER = re.compile(rf"[-+]?(?:0|[1-9][0-9]{{0,{MAX_DIGITS - 1}}})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_MAX_FLOAT_TEXT = 40
_BOOLEANS = {
    word: value for value, text in ((True, "true"), (False, "false")) for word in (text, text.title(), text.upper())
}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
# Unquoted keys that YAML 1.1 loaders turn into something else than text (`no:` becomes False, `<<:` merges).
_TREACHEROUS_KEY = re.compile(
    r"(?i:y|n|yes|no|on|off|true|false|null)|~||<<|=|[-+]?[0-9][0-9_.:]*(?:e[-+]?[0-9]+)?|0x[0-9a-f]+"
    r"|[-+]?\.(?:inf|nan)|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
)
_REMOTE_MARKS = {
    b"version https://git-lfs": "it is a Git-LFS pointer: run `git lfs pull`",
    b"<!doctype html": "it is a web page: fetch the raw file",
    b"<html": "it is a web page: fetch the raw file",
}

Position = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Document:
    """`data` of one YAML file, the SHA-256 of its bytes, and where each key path stands (line, column; from 1)."""

    path: Path
    data: Any
    sha256: str
    lines: dict[KeyPath, Position] = field(default_factory=dict)

    def where(self, key_path: KeyPath) -> Position:
        """Position of a key (of an item in a list), or of the nearest parent that the file contains."""
        for length in range(len(key_path), -1, -1):
            if key_path[:length] in self.lines:
                return self.lines[key_path[:length]]
        return (1, 1)

    def error(self, key_path: KeyPath, problem: str, **details: Any) -> PlaybookError:
        """A PlaybookError at a key path."""
        line, column = self.where(key_path)
        return PlaybookError(self.path, problem, key_path=key_path, line=line, column=column, **details)


def load_yaml(path: Path) -> Document:
    """Read one YAML document. Raises PlaybookError, and nothing else, for whatever the file holds.

    `no`, `12:30:45` and `2026-01-31` stay text, `1e-5` is a number (YAML 1.1 has it the other way round).
    """
    return parse_yaml(path, _read(path))


def parse_yaml(path: Path, content: bytes) -> Document:
    """As `load_yaml`, of bytes that were read from PATH already."""
    return Document(path, *_parse(path, content))


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PlaybookError(path, "is a folder, not a playbook", advice="name a .playbook.yaml file in it")
        if not stat.S_ISREG(status.st_mode):
            raise PlaybookError(path, "is not a regular file", advice="copy the playbook into a file")
        if status.st_size > MAX_BYTES:
            raise _too_large(path, f"{status.st_size} bytes")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PlaybookError(path, "no such playbook", advice="check the path") from None
    except (OSError, ValueError) as error:
        if isinstance(error, PlaybookError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise PlaybookError(path, f"cannot be read: {reason}", advice="check the path and its permissions") from None
    if len(content) > MAX_BYTES:
        raise _too_large(path, "more")
    return content


def _too_large(path: Path, found: str) -> PlaybookError:
    return PlaybookError(
        path, f"larger than a playbook may be, limit {MAX_BYTES} bytes", found=found, advice="is it a playbook at all?"
    )


def _parse(path: Path, content: bytes) -> tuple[Any, str, dict[KeyPath, Position]]:
    for mark, advice in _REMOTE_MARKS.items():
        if content[:64].lstrip().lower().startswith(mark):
            raise PlaybookError(path, "is not YAML", line=1, column=1, advice=advice)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PlaybookError(
            path,
            "is not UTF-8 text",
            line=line,
            column=error.start - content.rfind(b"\n", 0, error.start),
            found=f"byte 0x{content[error.start]:02x} at offset {error.start}",
            advice="save the file as UTF-8",
        ) from None
    builder = _Builder(path)
    builder.run(text)
    return builder.root, hashlib.sha256(content).hexdigest(), builder.lines


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being filled; `key` is the pending key of a mapping."""

    value: dict[str, Any] | list[Any]
    path: KeyPath
    key: str | None = None


class _Builder:
    """Turns parse events into data, with an explicit stack: depth cannot exhaust Python's own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root: Any = None
        self.lines: dict[KeyPath, Position] = {}
        self._stack: list[_Open] = []
        self._nodes = 0
        self._documents = 0

    def run(self, text: str) -> None:
        """Consume all events of TEXT."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in yaml.parse(text, Loader=loader):
                self._take(event, yaml)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise PlaybookError(
                self.path,
                f"is not YAML: {' '.join(filter(None, (error.context, error.problem)))}",
                line=mark.line + 1 if mark else None,
                column=mark.column + 1 if mark else None,
                advice="check indentation, quotes and brackets there",
            ) from None
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0) or 0
            problem = getattr(error, "reason", None) or error
            raise PlaybookError(
                self.path,
                f"is not YAML: {' '.join(str(problem).split())}",
                line=text.count("\n", 0, position) + 1,
                column=position - text.rfind("\n", 0, position),
                advice="remove the character",
            ) from None

    def _take(self, event: Event, yaml: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fail(event, "holds more than one YAML document", "keep one playbook in a file, remove `---`")
        elif isinstance(event, yaml.AliasEvent):
            self._fail(event, f"alias `*{event.anchor}` is not accepted", "write the value out")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, yaml)

    def _node(self, event: ScalarEvent | CollectionStartEvent, yaml: Any) -> None:
        if event.anchor is not None:
            self._fail(event, f"anchor `&{event.anchor}` is not accepted", "write the value out where it is needed")
        if event.tag is not None:
            self._fail(event, f"tag `{event.tag}` is not accepted", "remove the tag; quote the value if it is text")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._fail(event, f"holds too many values, limit {MAX_NODES}", "a playbook is small: split the file")
        position = _position(event)
        parent = self._stack[-1] if self._stack else None
        if isinstance(event, yaml.ScalarEvent):
            if parent is not None and isinstance(parent.value, dict) and parent.key is None:
                self._key(event, parent, position)
            else:
                self._place(parent, _scalar(event), position)
            return
        if parent is not None and isinstance(parent.value, dict) and parent.key is None:
            self._fail(event, "a key must be text", "use a plain word as the key")
        if len(self._stack) >= MAX_DEPTH:
            self._fail(event, f"nested too deeply, limit {MAX_DEPTH} levels", "flatten the structure")
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Open(value, self._place(parent, value, position)))

    def _key(self, event: ScalarEvent, parent: _Open, position: Position) -> None:
        key = event.value
        if event.implicit[0] and _TREACHEROUS_KEY.fullmatch(key):
            self._fail(event, f"key `{key}` is not text in every YAML loader", "put it in quotes")
        key_path = (*parent.path, key)
        if key in parent.value:
            first = self.lines[key_path][0]
            raise PlaybookError(
                self.path,
                f"the key is there twice, first in line {first}",
                key_path=key_path,
                line=position[0],
                column=position[1],
                advice="remove one of the two",
            )
        parent.key = key
        self.lines[key_path] = position

    def _place(self, parent: _Open | None, value: Any, position: Position) -> KeyPath:
        if parent is None:
            self.root = value
            self.lines[()] = position
            return ()
        if isinstance(parent.value, list):
            path = (*parent.path, len(parent.value))
            parent.value.append(value)
            self.lines[path] = position
            return path
        assert parent.key is not None
        path = (*parent.path, parent.key)
        parent.value[parent.key] = value
        parent.key = None
        return path

    def _fail(self, event: Event, problem: str, advice: str) -> NoReturn:
        parent = self._stack[-1] if self._stack else None
        key_path: KeyPath = ()
        if parent is not None:
            key_path = parent.path if parent.key is None else (*parent.path, parent.key)
        line, column = _position(event)
        raise PlaybookError(self.path, problem, key_path=key_path, line=line, column=column, advice=advice)


def _position(event: Event) -> Position:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1


def _scalar(event: ScalarEvent) -> Any:
    if not event.implicit[0]:
        return event.value
    return plain_value(event.value)


def plain_value(text: str) -> Any:
    """The value of an unquoted scalar: null, boolean, integer, finite float, else text."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    number = number_of(text)
    return text if number is None else number


def number_of(text: str) -> int | float | None:
    """The number that TEXT writes in decimal, or None. Octal, underscores, `.inf` and `.nan` are not numbers here."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) <= _MAX_FLOAT_TEXT and _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    return None


def close_match(word: str, known: list[str]) -> str | None:
    """The known word that WORD is probably a slip of, or None."""
    matches = difflib.get_close_matches(word[:100], known, n=1, cutoff=0.6)
    return matches[0] if matches else None
