"""From the outcome of one item to its Evidence. Runs where the item ran; the result crosses xdist as one JSON text."""

from __future__ import annotations

import functools
import platform
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.evidence.collection_record import CHECK, NOT_TRIED, SKIPPED_BY
from pytest_aprqa.marks import Claim, claim_of

if TYPE_CHECKING:
    import pytest

    from pytest_aprqa.evidence.record import Evidence

EVIDENCE_PROPERTY = "aprqa_evidence"
HALTED = "halted by failure policy"  # how the reason of an item begins that was not reached
OUTPUT_LIMIT = 20_000  # characters of model output kept in one entry


def evidence_of(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport, order: int) -> Evidence:
    """Build the evidence of a finished call, or of a setup that failed or skipped."""
    from pytest_aprqa.collection import PlaybookFile, target_of
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.fixtures import OBSERVED

    claim = claim_of(item)
    file = item.getparent(PlaybookFile)
    assert file is not None
    playbook = file.playbook
    target = target_of(item)
    observed = item.stash.get(OBSERVED, None)
    facts: dict[str, Any] = dict(observed.facts) if observed is not None else {}
    result, threads = facts.pop("result", None), facts.pop("threads", None)
    duration_ms = round((call.stop - call.start) * 1000)
    common: dict[str, Any] = {
        "gate_id": gate_id_for(claim, target, _parameters(item)),
        "scenario": scenario_map(playbook, target, claim),
        "duration_ms": duration_ms,
        "host": host_facts() | ({"engine_threads": threads} if threads else {}),
        "playbook": file.path.name.split(".playbook.")[0],
        "node_id": item.nodeid,
        "check": getattr(item, "originalname", item.name),
        "title": claim.title or first_line(item),
        "severity": claim.severity,
        "gateway": claim.gateway,
        "invariant": claim.invariant,
        "observed": list(observed.values) if observed is not None else [],
        "metadata": {"order": str(order)} | ({"depth": claim.depth} if claim.depth else {}),
        **facts,
    }
    if result is not None:
        common |= generation_facts(result)
    if report.skipped and skipped_by_check(item, report):
        common["metadata"] |= {SKIPPED_BY: CHECK}
    return _with_outcome(Evidence, call, report, common)


def _with_outcome(evidence: type[Evidence], call: Any, report: pytest.TestReport, common: dict[str, Any]) -> Evidence:
    from pytest_aprqa.engines.errors import EngineCrashed, EngineTimeout

    error = call.excinfo.value if call.excinfo is not None else None
    if report.passed:
        return evidence.corroborated(**common)
    if report.skipped:
        return evidence.skipped(skip_reason(report), **common)
    if isinstance(error, EngineTimeout):
        common.pop("output", None)
        return evidence.timeout(error.limit_ms, **(common | {"stderr": error.stderr_tail, "reason": str(error)}))
    if isinstance(error, EngineCrashed):
        common.pop("output", None)
        code = -error.signal if error.signal else (error.exit_code or 0)
        crashed = common | {"reason": str(error)}
        if error.signal_name is not None:
            from pytest_aprqa.engines.core_hint import core_hint

            told = {"signal": error.signal_name, "core": core_hint(error.signal_name)}
            crashed["metadata"] = crashed["metadata"] | told
        return evidence.crashed(code, error.stderr_tail or "", **crashed)
    _explain(error, common)
    text = failure_text(error, report)
    if is_pytest_timeout(text):
        common.pop("output", None)
        return evidence.timeout(duration_of(report), **(common | {"reason": text.splitlines()[0]}))
    prefix = "setup: " if report.when == "setup" and not is_typed(error) else ""
    return evidence.falsified(prefix + text, **common)


def _explain(error: BaseException | None, common: dict[str, Any]) -> None:
    """A typed error that names its place is a finding; an exception that nobody foresaw is marked as such."""
    problem, where = getattr(error, "problem", None), getattr(error, "where", None)
    if is_typed(error) and isinstance(problem, str) and isinstance(where, str):
        found, limit = getattr(error, "found", None), getattr(error, "limit", None)
        named = {"name": where or str(getattr(error, "path", "")), "value": found, "limit": limit, "unit": ""}
        common["observed"] = [*common["observed"], named | {"passed": False, "cause": problem}]
    elif isinstance(error, Exception) and not is_typed(error) and not isinstance(error, AssertionError):
        common["metadata"] = common["metadata"] | {"unexpected": type(error).__name__}


def is_typed(error: BaseException | None) -> bool:
    """True for errors of our own rooms: they are findings about the artifact, in one line."""
    return error is not None and type(error).__module__.startswith("pytest_aprqa.")


def failure_text(error: BaseException | None, report: pytest.TestReport) -> str:
    """One reason: the message of the assertion or the error, without the source lines of the check."""
    if error is None:
        return str(report.longrepr)[:OUTPUT_LIMIT]
    text = str(error).strip()
    if isinstance(error, AssertionError):
        # Assertion rewriting appends the compared expression on further lines: the first line is the message.
        return (text.splitlines() or ["assertion failed"])[0]
    return text if is_typed(error) else f"{type(error).__name__}: {text}"


def is_pytest_timeout(text: str) -> bool:
    """True for the failure that pytest-timeout raises in the signal method."""
    return text.startswith(("Failed: Timeout", "Timeout")) and "pytest-timeout" in text


def duration_of(report: pytest.TestReport) -> int:
    """Duration of a report in whole milliseconds."""
    return round(report.duration * 1000)


def skip_reason(report: pytest.TestReport) -> str:
    """The reason of a skip or xfail, as the user wrote it."""
    if getattr(report, "wasxfail", None):
        return f"xfail: {report.wasxfail}"
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def skipped_by_check(item: pytest.Item, report: pytest.TestReport) -> bool:
    """Whether the skip was raised by the check or its fixtures; not by a mark, a hook of the user, or a halted run.

    Nor is it where the check could not look at what it is about: that is not proven, and a run with it incomplete.
    """
    if getattr(report, "wasxfail", None) or not isinstance(report.longrepr, tuple):
        return False
    if any(True for name in ("skip", "skipif") for _ in item.iter_markers(name)):
        return False
    if skip_reason(report).startswith((f"not run: {HALTED}", NOT_TRIED)):
        return False
    raised_in = Path(report.longrepr[0]).absolute()
    own = getattr(getattr(getattr(item, "function", None), "__code__", None), "co_filename", "")
    return raised_in.is_relative_to(Path(__file__).parent.absolute()) or str(raised_in) == own


def _parameters(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec is not None else {}


def gate_id_for(claim: Claim, target: Any, parameters: Mapping[str, Any] | None = None) -> str:
    """The gate id; `{category}` becomes A1..A6 of the scenario, `{conversion}` the path, `{rule}` the rule."""
    given = parameters or {}
    if "conversion" in given:
        return claim.gate_id.replace("{conversion}", given["conversion"].gate)
    if "rule" in given:
        return claim.gate_id.replace("{rule}", str(given["rule"]))
    if "{category}" in claim.gate_id and target is not None and target.scenario is not None:
        return claim.gate_id.replace("{category}", target.scenario.category)
    return claim.gate_id


def scenario_map(playbook: Any, target: Any, claim: Claim) -> dict[str, Any]:
    """The `scenario` block of an evidence entry; fields that the check does not distinguish are null."""
    organisation, _, name = playbook.model.hf_repo.partition("/")
    scenario = target.scenario if target is not None else None
    return {
        "id": scenario.scenario_id if scenario else f"{playbook.name}_{claim.gate_id}",
        "model": {"org": organisation, "name": name or organisation, "variant": None},
        "modality": target.modality if target else None,
        "backend": target.backend if target else None,
        "format": target.format if target else None,
        "prompt": scenario.prompt if scenario else None,
        "temperature": scenario.temperature if scenario else None,
        "max_tokens": scenario.max_tokens if scenario else None,
        "seed": scenario.seed if scenario else None,
        "trace_level": "none",
        "oracle_type": None,
    }


def generation_facts(result: Any) -> dict[str, Any]:
    """Output, ids and speed of a generation, as evidence fields."""
    total = result.new_length
    first = result.first_token_seconds
    return {
        "output": result.text[:OUTPUT_LIMIT],
        "metrics": {
            "tokens_per_second": total / result.seconds if total and result.seconds > 0 else None,
            "time_to_first_token_ms": first * 1000 if first is not None else None,
            "total_tokens": total,
            "memory_peak_mb": None,
        },
        "generation": {
            "prompt_ids": result.prompt_ids,
            "prompt_tokens": getattr(result, "prompt_length", None),
            "new_ids": result.new_ids,
            "finish_reason": result.finish_reason,
        },
    }


@functools.cache
def host_facts() -> dict[str, Any]:
    """Host, operating system and processor of this process. Asked once; copy before you change it."""
    return {
        "hostname": socket.gethostname(),
        "os": f"{platform.system()} {platform.release()}",
        "cpu": platform.processor() or platform.machine(),
        "gpu": None,
        "apr_version": None,
    }


def first_line(item: pytest.Item) -> str:
    """First line of the check's docstring."""
    doc = getattr(getattr(item, "function", None), "__doc__", None) or ""
    return doc.strip().split("\n", 1)[0]
