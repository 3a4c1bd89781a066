"""The kept corpus, tests/data/fuzz/corpus/READER.jsonl: for each rule that refused a damaged file one such file.

Every everyday run reads these files again, every fuzzing run damages them further.
"""

from __future__ import annotations

import base64
import json
import zlib

from tests.fuzz.model_targets import DATA

MOST_KEPT = 40
FOLDER = DATA / "fuzz" / "corpus"


def kept(reader: str) -> dict[str, bytes]:
    """Rule -> a file that it refuses."""
    path = FOLDER / f"{reader}.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines() if path.is_file() else ())
    return {row["rule"]: zlib.decompress(base64.b64decode(row["zlib"])) for row in rows}


def add(reader: str, files: dict[str, bytes]) -> None:
    """Write the files of new rules beside the others, sorted by rule, MOST_KEPT of a reader at most."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    old = kept(reader)
    new = [(rule, data) for rule, data in files.items() if rule not in old]
    rows = sorted([*old.items(), *new[: max(0, MOST_KEPT - len(old))]])
    texts = [(rule, base64.b64encode(zlib.compress(data, 9)).decode()) for rule, data in rows]
    lines = [json.dumps({"rule": rule, "zlib": text}) + "\n" for rule, text in texts]
    (FOLDER / f"{reader}.jsonl").write_text("".join(lines), encoding="utf-8")
