"""certificate.md: the certificate for people. All text in it that came from a model or a file is written as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pytest_aprqa.reporting.gateway_words import category_points, gateway_word
from pytest_aprqa.reporting.hostile_text import markdown_code, markdown_text

NOTHING = ["Nothing.", ""]


def certificate_markdown(content: dict[str, Any]) -> str:
    """The content of certificate.json as Markdown. Same input, same bytes."""
    lines = [f"# Certificate: {markdown_text(str(content['model_id']))}", ""]
    lines += [f"**{content['status']}**, {content['mqs_score']}/1000, grade {content['grade']}", ""]
    lines += [f"- {markdown_text(reason)}" for reason in content["status_reasons"]]
    lines += [""] if content["status_reasons"] else []
    lines += _facts(content)
    lines += ["## Artifacts", ""]
    lines += _table(
        ("Format", "File", "Origin", "SHA-256"),
        ([a["format"], a["file"], a["origin"], a["sha256"]] for a in content["artifacts"]),
    )
    lines += ["## Tested", ""]
    lines += [f"- {name}: {', '.join(map(markdown_text, s['tested'])) or 'none'}" for name, s in _scopes(content)]
    lines += [f"- engine: {markdown_text(_engine(engine))}" for engine in content["engines"]]
    lines += [f"- machine: {markdown_text(machine)}" for machine in content["machines"]]
    lines += ["", "## Gateways and points", ""]
    lines += _table(
        ("Gateway", "State", "Claim"), ([g["id"], gateway_word(g), g["description"]] for g in content["gateways"])
    )
    lines += _table(
        ("Category", "Points", "Maximum"), ([name, str(n), str(most)] for name, n, most in category_points(content))
    )
    lines += ["## Not tested", "", *_not_tested(content)]
    lines += ["Check it with `aprqa verify certificate.json`.", ""]
    return "\n".join(lines)


def _facts(content: dict[str, Any]) -> list[str]:
    collection, playbooks = content["collection"], content["playbooks"]
    expected = "unknown" if collection["expected"] is None else str(collection["expected"])
    rows = [
        ["certified at", content["certified_at"]],
        ["expires at", content["expires_at"]],
        ["auditor", content["auditor"]],
        ["items", f"{collection['found']} of {expected}" + ("" if collection["complete"] else " (a part)")],
        *([f"playbook {p['name']}", p["sha256"] or "digest not recorded"] for p in playbooks),
        *(["configuration and tokenizer", digest] for digest in content.get("declarations", [])),
        ["evidence.json", content["evidence_hash"]],
        ["scoring rules, limits", f"{content['rules']['scoring']}, {content['rules']['limits']}"],
        ["black swans caught", str(content["black_swans_caught"])],
    ]
    return _table(("Fact", "Value"), rows)


def _scopes(content: dict[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    return ((name, content["scope"][name]) for name in ("formats", "backends", "modalities"))


def _engine(engine: dict[str, Any]) -> str:
    parts = [f"{engine['name']} {engine['version']}", engine["backend"], engine["dtype"]]
    return ", ".join(part for part in parts if part) + f" ran {', '.join(engine['formats']) or 'no format'}"


def _not_tested(content: dict[str, Any]) -> list[str]:
    missing = content["not_tested"]
    unproven = [*missing["gateways"], *map(str.upper, missing["categories"]), *missing["checks"]]
    lines = [f"- no evidence for {markdown_text(name)}" for name in unproven]
    for row in missing["skipped"]:
        places = f" ({', '.join(map(markdown_text, row['places']))})" if row["places"] else ""
        lines.append(f"- {row['items']} items: {markdown_text(row['reason'])}{places}")
    return [*lines, ""] if lines else NOTHING


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(_cell(str(value)) for value in row)} |" for row in rows]
    return [*lines, ""]


def _cell(text: str) -> str:
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return markdown_code(text) if is_digest else markdown_text(text)
