"""Hostile playbooks and evidence: YAML that explodes or means something else, logs that are damaged."""

from __future__ import annotations

from pathlib import Path

from pytest_aprqa.evidence.log import read_json, read_log
from pytest_aprqa.playbooks.loading import load_playbook
from tests.hostile.case import Case, saved

YAML = "YAML 1.1 as PyYAML reads it"
LOG = "what crashes, full disks and people do to logs"
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(8)
)


def playbook(name: str, what: str, data: bytes, words: str) -> Case:
    return Case(None, f"playbook-{name}", what, YAML, words, saved("x.playbook.yaml", data), read_playbook)


def read_playbook(path: Path) -> None:
    load_playbook(path)


def log(name: str, what: str, data: bytes, words: str) -> Case:
    return Case(None, f"evidence-{name}", what, LOG, words, saved("evidence.jsonl", data), read_evidence)


def read_evidence(path: Path) -> None:
    list(read_log(path))


def read_whole(path: Path) -> None:
    list(read_json(path))


CASES = [
    playbook("alias-bomb", "341 bytes that become gigabytes", BOMB, "anchor|alias"),
    playbook("alias-of-itself", "a list that holds itself", b"name: &a [*a]\n", "anchor|alias"),
    playbook("deep", "a list of 100,000 levels", b"name: " + b"[" * 100_000, "deep|level"),
    playbook("key-twice", "one key twice", b"name: a\nname: b\n", "duplicate|twice"),
    playbook("key-is-boolean", "a key that loaders take for false", b"no: 1\n", "no"),
    playbook("python-tag", "a tag that makes objects", b"name: !!python/object/apply:os.system [ls]\n", "tag"),
    playbook("not-utf8", "bytes that are no text", b"name: \xff\xfe\n", "UTF-8"),
    playbook("control-characters", "a text that paints the terminal", b"name: \x1b[2J\n", "character|YAML"),
    playbook("large", "two megabytes", b"#" * (2 << 20), "larger than a playbook"),
    playbook("many-nodes", "half a million items", b"name: [" + b"1," * 500_000 + b"]\n", "node|items|large|many"),
    playbook("long-number", "a number of 100,000 digits", b"version: " + b"9" * 100_000 + b"\n", "version|name"),
    playbook("empty", "nothing", b"", "empty|mapping|name"),
    playbook("web-page", "an error page", b"<!doctype html><html>404</html>", "web page"),
    log("damaged-middle", "a line in the middle that is no JSON", b'{"a"}\n{}\n', "damaged|not JSON|gate_id"),
    log("not-an-object", "a list as entry", b"[1]\n", "object|mapping|entry|evidence"),
    log("deep", "a line of 200,000 levels", b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n", "nested|evidence"),
    log("outcome-unknown", "an outcome that does not exist", b'{"id":"1","gate_id":"x","outcome":"Fine","reason":""}\n',
        "outcome|Fine|field"),
    log("zeros", "a page of zeros between two lines, then a wrong entry", b"\0" * 4096 + b"\n[]\n", "evidence|object"),
    Case(None, "evidence-json-deep", "evidence.json of 200,000 levels", LOG, "not JSON|nested",
         saved("evidence.json", b"[" * 200_000), read_whole),
    Case(None, "evidence-json-number", "evidence.json that is a number", LOG, "neither an array",
         saved("evidence.json", b"5"), read_whole),
]  # fmt: skip
