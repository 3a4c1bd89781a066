"""The front matter of a model card: the YAML between two lines `---` at the top of README.md, strictly read."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pytest_aprqa.models.errors import ModelError
from pytest_aprqa.playbooks.document import parse_yaml
from pytest_aprqa.playbooks.errors import PlaybookError

CARD_NAME: Final = "README.md"
MAX_CARD_BYTES: Final = 8 << 20
_FENCE: Final = "---"
_MARK: Final = b"\xef\xbb\xbf"
_KEY: Final = re.compile(r"""["']?[\w.-]+["']?\s*:(\s|$)""")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """`fields`: the front matter as plain data (dates and versions stay text). `body_line`: where the text begins."""

    path: Path
    fields: dict[str, Any]
    body_line: int


def read_model_card(path: Path) -> ModelCard:
    """Read the front matter of PATH (a card, or the folder that holds its README.md). All line ends count the same.

    ModelError: no such file, more than MAX_CARD_BYTES, not UTF-8, a byte order mark (readers then see no front
    matter), no front matter, one that is not closed, a second one, YAML that is refused, or no mapping.
    """
    if path.is_dir():
        path = path / CARD_NAME
    lines = _text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if lines[0].rstrip() != _FENCE:
        advice = "begin the card with a line ---, the fields (license, base_model, ...) and a line ---"
        raise ModelError(path, "line 1", "has no front matter", found=lines[0][:40], limit=_FENCE, advice=advice)
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() == _FENCE), None)
    if end is None:
        raise ModelError(path, "line 1", "front matter is not closed", advice="write a line --- after the last field")
    _refuse_second(path, lines, end)
    fields = _fields(path, lines[1:end])
    return ModelCard(path, fields, end + 2)


def _text(path: Path) -> str:
    """The card as text. What is no plain file is not opened: a pipe would never end."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(path, "file", "is not a plain file", advice=f"name a {CARD_NAME}")
        with path.open("rb") as stream:
            content = stream.read(MAX_CARD_BYTES + 1)
    except OSError as error:
        advice = "write a card, or fetch it with the model"
        raise ModelError(path, "file", f"cannot be read: {error.strerror or error}", advice=advice) from None
    if len(content) > MAX_CARD_BYTES:
        raise ModelError(path, "file", "is too long for a card", found=status.st_size, limit=MAX_CARD_BYTES)
    if content.startswith(_MARK):
        advice = "save it as UTF-8 without the mark: readers take the card for one without front matter"
        raise ModelError(path, "offset 0", "begins with a byte order mark", found=_MARK.hex(), advice=advice)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{content[error.start]:02x}"
        raise ModelError(path, f"offset {error.start}", "is not UTF-8 text", found=found) from None


def _refuse_second(path: Path, lines: list[str], end: int) -> None:
    """Fields between two more fences right behind the first front matter: readers take the first and drop these."""
    rest = [(number, line.rstrip()) for number, line in enumerate(lines[end + 1 :], end + 2) if line.strip()]
    if len(rest) > 1 and rest[0][1] == _FENCE and _KEY.match(rest[1][1]) and (_FENCE in (line for _, line in rest[1:])):
        advice = "join both: only the first is read"
        raise ModelError(path, f"line {rest[0][0]}", "a second front matter begins", advice=advice)


def _fields(path: Path, lines: list[str]) -> dict[str, Any]:
    try:
        # The fence becomes an empty line: positions are those of the card.
        data = parse_yaml(path, ("\n" + "\n".join(lines) + "\n").encode("utf-8")).data
    except PlaybookError as error:
        where = f"line {error.line}" if error.line else "front matter"
        raise ModelError(path, where, error.problem, advice=error.advice) from None
    if not isinstance(data, dict):
        kind = "nothing" if data is None else "a list" if isinstance(data, list) else "text"
        raise ModelError(path, "front matter", "must map fields to values", found=kind, advice="write license: ...")
    return data
