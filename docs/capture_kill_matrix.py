"""Puts the kill matrix of a `--falsify` run into the documentation: the picture, and a page with one row a defect.

python docs/capture_kill_matrix.py evidence/latest (or several runs of its parts, selected with -k)
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from pytest_aprqa.falsify.gates import RECORDS
from pytest_aprqa.reporting.hostile_text import markdown_code, markdown_text
from pytest_aprqa.reporting.kill_matrix import KILLED, matrix_document, matrix_lines
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
    lines += ["", "Gates that no seeded defect can reach are not counted above:", ""]
    lines += ["| Gate | Check | Why |", "|---|---|---|"]
    for row in document["left_out"]:
        if row["check"] in RECORDS:  # runs before records were told from gates have them here
            continue
        cells = (markdown_code(row["gate"]), markdown_code(row["check"]), markdown_text(row["reason"]))
        lines.append(f"| {' | '.join(cells)} |")
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


def read(folder: Path) -> dict[str, Any]:
    """The matrix of a run; folders and process numbers of the machine it ran on say nothing here."""
    text = (folder / "kill_matrix.json").read_text(encoding="utf-8")
    text = re.sub(r"process \d+", "process N", re.sub(r"(?<![\w.])/(?:[\w.+-]+/){2,}(?=\w)", "", text))
    document: dict[str, Any] = json.loads(text)
    return document


def joined(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """One matrix of runs of parts: every defect and clean model that any of them tried, as the last one found it.

    SystemExit: the runs were of another suite, so that their gates are not the same.
    """
    rows = [[(gate["gate"], gate["check"]) for gate in one["gates"]] for one in documents]
    if any(row != rows[0] for row in rows):
        raise SystemExit("the runs have other gates: try every part again with one version")
    results: dict[str, dict[str, Any]] = {}
    for one in documents:
        accepted = {name: {"kind": "clean", "name": name, "verdict": "accepted"} for name in one["clean"]["names"]}
        results |= accepted | {found["name"]: found for found in (*one["clean"]["rejected"], *one["defects"])}
    return matrix_document(results.values(), documents[-1]["gates"], documents[-1]["left_out"])


def main() -> None:
    """Write docs/kill-matrix.svg and docs/reference/kill-matrix.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="folders of --falsify runs; what a later one tried counts")
    document = joined([read(folder) for folder in parser.parse_args().run])
    (DOCS / "kill-matrix.svg").write_text(picture(document), encoding="utf-8")
    (DOCS / "reference" / "kill-matrix.md").write_text(page(document), encoding="utf-8")


if __name__ == "__main__":
    main()
