"""The files of a `--falsify` run: kill_matrix.json, the picture, and the report in Markdown and HTML."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from pytest_aprqa.reporting.atomic_file import write_atomically
from pytest_aprqa.reporting.hostile_text import for_xml, markdown_code, markdown_text, one_line
from pytest_aprqa.reporting.kill_matrix import KILLED, matrix_lines
from pytest_aprqa.reporting.kill_matrix_picture import picture

JSON, SVG, MARKDOWN, HTML = "kill_matrix.json", "kill_matrix.svg", "report.md", "report.html"
LONGEST_CAUSE = 160
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Kill matrix</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; font-size: 13px; }} td, th {{ text-align: left; padding: 2px 10px 2px 0; }}
td {{ vertical-align: top; border-top: 1px solid #8884; }} .scroll {{ overflow-x: auto; }}
</style></head><body>
<h1>Kill matrix</h1>
{totals}
<div class="scroll">{svg}</div>
<h2>Defect by defect</h2>
<div class="scroll"><table><tr><th>Defect</th><th>Killed by</th><th>Cause that the gate gave</th><th>Seen in</th></tr>
{rows}
</table></div></body></html>
"""


def write_kill_matrix(folder: Path, document: dict[str, Any]) -> list[Path]:
    """Write the four files into `folder` and return their paths. OSError: the folder cannot be written."""
    texts = {
        JSON: json.dumps(document, indent=2, ensure_ascii=True) + "\n",
        SVG: picture(document),
        MARKDOWN: kill_matrix_markdown(document, with_picture=True),
        HTML: kill_matrix_html(document),
    }
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def kill_matrix_markdown(document: dict[str, Any], *, with_picture: bool) -> str:
    """Totals and one row for each defect, for people."""
    lines = ["# Kill matrix", ""]
    lines += [f"- {markdown_text(text)}" for text in _totals(document)]
    if with_picture:
        lines += ["", f"![kill matrix]({SVG})"]
    lines += ["", "| Defect | Killed by | Cause that the gate gave | Seen in |", "|---|---|---|---|"]
    for one in document["defects"]:
        cells = (
            markdown_code(str(one["name"])),
            markdown_code(_killer(one)) if one["verdict"] == KILLED else f"**{_killer(one)}**",
            markdown_text(str(one.get("cause", "")), LONGEST_CAUSE),
            markdown_text(str(one.get("origin", ""))),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def kill_matrix_html(document: dict[str, Any]) -> str:
    """A page without anything from outside: totals, the picture, the table."""
    rows = []
    for one in document["defects"]:
        cells = (one["name"], _killer(one), one.get("cause", ""), one.get("origin", ""))
        rows.append("<tr>" + "".join(f"<td>{_escaped(str(cell))}</td>" for cell in cells) + "</tr>")
    totals = "".join(f"<p>{_escaped(text)}</p>" for text in _totals(document))
    return PAGE.format(totals=totals, svg=picture(document), rows="\n".join(rows))


def _killer(defect: dict[str, Any]) -> str:
    return str(defect["killed_by"]) if defect["verdict"] == KILLED else str(defect["verdict"])


def _totals(document: dict[str, Any]) -> list[str]:
    return [text for text, _ in matrix_lines({**document, "defects": []}, 4000)]


def _escaped(text: str) -> str:
    return escape(for_xml(one_line(text)))
