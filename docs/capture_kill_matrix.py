"""Puts the kill matrix of a `--falsify` run into the documentation: the picture, and a page with one row a defect.

python docs/capture_kill_matrix.py evidence/latest
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from pytest_aprqa.reporting.hostile_text import markdown_code, markdown_text
from pytest_aprqa.reporting.kill_matrix import KILLED, matrix_lines
from pytest_aprqa.reporting.kill_matrix_picture import picture

DOCS = Path(__file__).resolve().parent
NOTICE = "<!-- Written by docs/capture_kill_matrix.py from a real run; do not edit. -->"
LONGEST_CAUSE = 140


def page(document: dict[str, Any]) -> str:
    """The Markdown page of a matrix: totals, gates, defects with gate, cause and origin."""
    totals = [text for text, _ in matrix_lines({**document, "defects": []}, 4000)]
    lines = ["# Kill matrix", "", NOTICE, "", "What `pytest --playbook tiny-qwen2-mvp --falsify` found, see"]
    lines += ["[Prove the gates](../how-to/prove-the-gates.md).", ""]
    lines += [f"- {markdown_text(text)}" for text in totals]
    lines += ["", "![kill matrix: defects down, gates across](../kill-matrix.svg)", ""]
    lines += ["## Gates", "", "| Gate | Kills | Check |", "|---|---|---|"]
    for row in document["gates"]:
        lines.append(f"| {markdown_code(row['gate'])} | {len(row['kills'])} | {markdown_code(row['check'])} |")
    lines += ["", "## Defects", "", "| Defect | What is broken | Killed by | Cause that the gate gave | Seen in |"]
    lines.append("|---|---|---|---|---|")
    for one in document["defects"]:
        killer = markdown_code(str(one["killed_by"])) if one["verdict"] == KILLED else f"**{one['verdict']}**"
        cells = (
            markdown_code(one["name"]),
            markdown_text(one["title"]),
            killer,
            markdown_text(one.get("cause", ""), LONGEST_CAUSE),
            markdown_text(one["origin"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write docs/kill-matrix.svg and docs/reference/kill-matrix.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a --falsify run")
    text = (parser.parse_args().run / "kill_matrix.json").read_text(encoding="utf-8")
    # Folders and process numbers of the machine it ran on say nothing here.
    text = re.sub(r"process \d+", "process N", re.sub(r"(?<![\w.])/(?:[\w.+-]+/){2,}(?=\w)", "", text))
    document = json.loads(text)
    for one in document["clean"].values():
        if isinstance(one, list):
            one.sort(key=str)
    (DOCS / "kill-matrix.svg").write_text(picture(document), encoding="utf-8")
    (DOCS / "reference" / "kill-matrix.md").write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
