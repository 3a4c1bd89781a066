"""Hostile model cards: front matter that is missing, twice, not closed, marked, or no plain mapping."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_aprqa.model_card import MAX_CARD_BYTES, read_model_card
from tests.hostile.case import FIELD_NOTES, Case, saved
from tests.hostile.text_cases import BOMB

BODY = b"\n# A model\n"


def fenced(fields: bytes, end: bytes = b"\n") -> bytes:
    return end.join([b"---", *fields.splitlines(), b"---"]) + BODY


def read(path: Path) -> None:
    read_model_card(path)


def card(name: str, what: str, data: bytes, words: str) -> Case:
    return Case(44, f"card-{name}", what, FIELD_NOTES, words, saved("README.md", data), read)


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "README.md")
    return folder


CASES = [
    card("no-front-matter", "a card that is text only", b"# A model\n", r"line 1: has no front matter"),
    card("empty", "an empty card", b"", "has no front matter"),
    card("not-closed", "front matter without an end", b"---\nlicense: mit\n\n# A model\n", "is not closed"),
    card("key-twice", "one field twice", fenced(b"license: mit\nlicense: apache-2.0"), "line 3: .*(duplicate|twice)"),
    card("second-block", "a second front matter behind the first", b"---\nlicense: mit\n---\n\n---\nlicense: x\n---\n",
         "line 5: a second front matter begins"),
    card("second-block-crlf", "the same with CRLF", b"---\r\nlicense: mit\r\n---\r\n---\r\nlicense: x\r\n---\r\n",
         "line 4: a second front matter begins"),
    card("crlf-key-twice", "one field twice in a card with CRLF", fenced(b"a: 1\nb: 2\na: 3", b"\r\n"), "line 4: "),
    card("mark", "a byte order mark before the fence", b"\xef\xbb\xbf" + fenced(b"license: mit"), "byte order mark"),
    card("not-utf8", "bytes that are no text", fenced(b"license: \xff\xfe"), "offset 13: is not UTF-8"),
    card("utf16", "UTF-16, as some editors save", "---\nlicense: mit\n---\n".encode("utf-16"), "is not UTF-8"),
    card("list", "a list of fields", fenced(b"- license"), "must map fields to values .found a list"),
    card("nothing", "fences around nothing", fenced(b""), "must map fields to values .found nothing"),
    card("bomb", "341 bytes that become gigabytes", fenced(BOMB), "anchor|alias"),
    card("tag", "a tag that makes objects", fenced(b"license: !!python/object/apply:os.system [ls]"), "tag"),
    card("deep", "a list of 100,000 levels", fenced(b"tags: " + b"[" * 100_000), "deep|level"),
    card("long", "more bytes than a card may have", fenced(b"a: b") + b"x" * MAX_CARD_BYTES, "too long for a card"),
    Case(44, "card-pipe", "a pipe that never ends", FIELD_NOTES, "is not a plain file", pipe, read),
    Case(44, "card-missing", "a folder without a card", FIELD_NOTES, "cannot be read: No such file",
         lambda folder: folder, read),
]  # fmt: skip
