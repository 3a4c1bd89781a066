"""What the fail-fast policy leaves behind at the first failure: facts for whoever has to find the cause."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

FORMAT_VERSION = "1.0.0"


def write_fail_fast_report(folder: Path, evidence: Evidence) -> None:
    """Write diagnostics.json, environment.json, inspect.json, stderr.log and summary.md. OSError: not writable."""
    from pytest_aprqa.evidence.record import plain

    folder.mkdir(parents=True, exist_ok=True)
    environment = environment_facts()
    inspection = inspect_artifact(evidence)
    failure = {
        "gate_id": evidence.gate_id,
        "node_id": evidence.node_id,
        "outcome": evidence.outcome.value,
        "reason": evidence.reason,
        "exit_code": evidence.exit_code,
        "duration_ms": evidence.metrics.get("duration_ms"),
        "scenario": evidence.scenario,
        "engine": evidence.engine,
        "artifact": evidence.artifact,
        "observed": evidence.observed,
        "advice": evidence.advice,
    }
    reproduction = {"command": f"pytest {evidence.node_id!r}", "playbook": evidence.playbook}
    diagnostics = {
        "version": FORMAT_VERSION,
        "timestamp": evidence.timestamp,
        "failure": failure,
        "environment": environment,
        "diagnostics": {"inspect": inspection},
        "reproduction": reproduction,
    }
    for name, value in (
        ("diagnostics.json", diagnostics),
        ("environment.json", environment),
        ("inspect.json", inspection),
    ):
        (folder / name).write_text(json.dumps(plain(value), indent=2) + "\n", encoding="utf-8")
    (folder / "stderr.log").write_text(evidence.stderr or "", encoding="utf-8", errors="replace")
    (folder / "summary.md").write_text(_summary(evidence, environment, inspection), encoding="utf-8", errors="replace")


def environment_facts() -> dict[str, Any]:
    """Operating system, processor type, Python and package versions of this process."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in ("pytest", "pytest-aprqa", "torch", "transformers", "tokenizers", "numpy", "gguf"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "os": platform.platform(),
        "arch": platform.machine(),
        "python": sys.version.split()[0],
        "versions": versions,
    }


def inspect_artifact(evidence: Evidence) -> dict[str, Any]:
    """Types and number of tensors and the declared configuration of the file at fault, as far as it opens."""
    import dataclasses

    path = (evidence.artifact or {}).get("path")
    if not path:
        return {"success": False, "error": "the failing item names no file"}
    from pytest_aprqa.models.artifact import open_artifact

    facts: dict[str, Any] = {"path": path, "success": True}
    try:
        with open_artifact(Path(path)) as opened:
            facts["tensors"] = len(opened.file.entries)
            types: dict[str, int] = {}
            for entry in opened.file.entries.values():
                types[entry.dtype] = types.get(entry.dtype, 0) + 1
            facts["types"] = types
            facts["config"] = dataclasses.asdict(opened.config)
    except (OSError, ValueError) as error:
        facts |= {"success": False, "error": str(error)}
    return facts


def _summary(evidence: Evidence, environment: dict[str, Any], inspection: dict[str, Any]) -> str:
    from pytest_aprqa.reporting.hostile_text import markdown_text

    def fenced(text: str) -> list[str]:
        return ["", *("    " + line for line in text.splitlines()), ""]

    return "\n".join(
        [
            f"# Fail-Fast Report: {markdown_text(evidence.gate_id)}",
            "",
            "## Failure Summary",
            "",
            f"- item: {markdown_text(evidence.node_id or '')}",
            f"- outcome: {evidence.outcome.value}",
            f"- reason: {markdown_text(evidence.reason)}",
            f"- what to do: {markdown_text(evidence.advice or 'see diagnostics.json')}",
            "",
            "## Environment",
            *fenced(json.dumps(environment, indent=2)),
            "## Model Metadata",
            *fenced(json.dumps(inspection, indent=2)),
            "## Stderr Capture",
            *fenced(evidence.stderr or "(empty)"),
            "## Reproduction",
            *fenced(f"pytest {evidence.node_id!r}"),
        ]
    )
