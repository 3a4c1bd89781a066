"""The kill matrix as a self-contained SVG: defects down, gates across; readable on light and dark ground."""

from __future__ import annotations

from html import escape
from typing import Any

from pytest_aprqa.reporting.hostile_text import clipped, for_xml, one_line
from pytest_aprqa.reporting.kill_matrix import KILLED, NOT_APPLICABLE, column_of, refuting_gates

ROW, COLUMN, MARGIN = 16, 20, 16
CHARACTER = 6.7  # pixels of one character of the widest usual monospaced face (DejaVu) at 11 pixels
HEAD = 48  # pixels of the two lines above the names of the gates
LONGEST_TITLE = 300
STYLE = """
:root { color-scheme: light dark; }
svg { background: #ffffff; }
text { font: 11px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328; }
.head { font-weight: bold; } .dim { fill: #656d76; }
.band { fill: #f3f5f7; } .line { stroke: #d0d7de; }
.kill { fill: #1a7f37; } .also { fill: none; stroke: #1a7f37; stroke-width: 1.5; }
.bad { fill: #cf222e; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #e6edf3; } .dim { fill: #8d96a0; }
  .band { fill: #161b22; } .line { stroke: #30363d; }
  .kill { fill: #3fb950; } .also { stroke: #3fb950; } .bad { fill: #f85149; }
}
"""


def picture(document: dict[str, Any], *, styled: bool = True) -> str:
    """SVG text. A full dot: this gate named the cause; a ring: it refuted the copy too; red: nobody named it.

    Without `styled` the colours are left to the page that it becomes a part of, whose policy may forbid a style.
    """
    defects = [one for one in document["defects"] if one["verdict"] != NOT_APPLICABLE]
    gates = [row["gate"] for row in document["gates"] if row["kills"]]
    left = MARGIN + round(CHARACTER * max((len(str(one["name"])) for one in defects), default=10)) + 12
    top = MARGIN + HEAD + round(CHARACTER * max((len(gate) for gate in gates), default=10))
    width = left + COLUMN * len(gates) + MARGIN + 24
    height = top + ROW * len(defects) + MARGIN + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' role="img" aria-label="kill matrix">',
        *([f"<style>{STYLE}</style>"] if styled else []),
        _text(MARGIN, MARGIN + 10, _headline(document), "head"),
        _text(MARGIN, MARGIN + 26, "dot: names the cause; ring: refutes too; red: no gate names it", "dim"),
    ]
    for column, gate in enumerate(gates):
        x, y = left + COLUMN * column + COLUMN // 2 + 4, top - 8
        parts.append(f'<g transform="translate({x} {y}) rotate(-90)">{_text(0, 0, gate)}</g>')
    for row, defect in enumerate(defects):
        parts += _row(defect, gates, row, left, top, width)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _row(defect: dict[str, Any], gates: list[str], row: int, left: int, top: int, width: int) -> list[str]:
    y = top + ROW * row
    parts = []
    if row % 2 == 0:
        parts.append(f'<rect class="band" x="0" y="{y}" width="{width}" height="{ROW}"/>')
    seen = defect["verdict"] == KILLED
    parts.append(_text(MARGIN, y + 12, str(defect["name"]), "" if seen else "bad", _title(defect)))
    causes = {str(one["gate"]): str(one["cause"]) for one in defect.get("also", ())}
    causes[str(defect.get("killed_by"))] = str(defect.get("cause", ""))
    for gate in refuting_gates(defect):
        pattern = column_of(gates, gate)
        if pattern is None:
            continue
        column = gates.index(pattern)
        kind = "kill" if gate == defect.get("killed_by") else "also"
        x = left + COLUMN * column + COLUMN // 2
        title = f"<title>{_escaped(f'{gate}: {causes.get(gate, str())}')}</title>"
        parts.append(f'<circle class="{kind}" cx="{x}" cy="{y + ROW // 2}" r="5">{title}</circle>')
    return parts


def _headline(document: dict[str, Any]) -> str:
    totals, clean = document["totals"], document["clean"]
    applicable = sum(count for verdict, count in totals.items() if verdict != NOT_APPLICABLE)
    return (
        f"{totals.get(KILLED, 0)} of {applicable} defects killed; "
        f"{len(clean['rejected'])} of {clean['tried']} clean models rejected"
    )


def _title(defect: dict[str, Any]) -> str:
    return f"{defect.get('title', '')} ({defect.get('origin', '')})"


def _text(x: int, y: int, text: str, kind: str = "", title: str = "") -> str:
    attribute = f' class="{kind}"' if kind else ""
    inner = f"<title>{_escaped(title)}</title>" if title else ""
    return f'<text x="{x}" y="{y}"{attribute}>{inner}{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    return escape(for_xml(clipped(one_line(text), LONGEST_TITLE)))
