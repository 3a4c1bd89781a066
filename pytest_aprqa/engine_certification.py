"""One playbook run on each engine, one after the other: score and status side by side, and where verdicts differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

USAGE_EXIT, NO_TESTS_EXIT = 4, 5  # of pytest
NOT_RUN = "NOT RUN"
RunPytest = Callable[[list[str]], tuple[int, str]]


@dataclass(slots=True)
class EngineCertificate:
    """What became of the playbook on one engine. `verdicts`: gate, outcome and reason by item."""

    engine: str
    status: str = NOT_RUN
    score: int | None = None
    grade: str | None = None
    counts: dict[str, int] = field(default_factory=dict)
    reason: str | None = None
    verdicts: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class VerdictDifference:
    """A gate that holds on one engine and not on another: the first item, each engine's word there, how many items."""

    gate: str
    item: str
    words: dict[str, str]
    items: int
    reason: str


def certify_on(
    engine: str,
    playbook: str,
    folder: Path,
    run_pytest: RunPytest,
    *,
    apr_binary: str | None,
    engine_url: str | None,
    limit_s: float | None = None,
) -> EngineCertificate:
    """Run the whole playbook with `--engine ENGINE`; evidence goes to FOLDER/ENGINE. RUN_PYTEST adds the playbook.

    LIMIT_S: of one scenario, instead of the playbook's.
    """
    from pytest_aprqa.evidence.log import read_log
    from pytest_aprqa.scoring.errors import EmptyEvidence
    from pytest_aprqa.scoring.score import score

    result = EngineCertificate(engine)
    evidence = folder / engine
    arguments = ["--engine", engine, "--evidence-dir", str(evidence), "--failure-policy=collect-all", "-q", "--tb=no"]
    arguments += ["-p", "no:cacheprovider"]
    arguments += ["--apr-binary", apr_binary] if apr_binary and engine == "apr" else []
    arguments += ["--scenario-timeout", str(round(limit_s * 1000))] if limit_s else []
    arguments += ["--engine-url", engine_url] if engine_url and engine == "url" else []
    code, output = run_pytest(arguments)
    log = evidence / "evidence.jsonl"
    if code in (USAGE_EXIT, NO_TESTS_EXIT) or code < 0 or not log.is_file():
        lines = [line for line in output.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")]
        result.reason = (errors or lines or [f"pytest ended with {code}"])[-1].removeprefix("ERROR: ")
        return result
    entries = list(read_log(log))
    try:
        facts = score(entries, model_id=playbook).to_dict()
    except EmptyEvidence as error:
        result.reason = str(error)
        return result
    result.status, result.score, result.grade = str(facts["status"]), int(facts["raw_score"]), str(facts["grade"])
    result.counts = {name: count for name, count in facts["outcomes"].items() if count}
    result.verdicts = {_item(entry): (entry.gate_id, entry.outcome.value, entry.reason) for entry in entries}
    return result


def _item(entry: Evidence) -> str:
    return (entry.node_id or entry.id).rpartition("::")[2]


def verdict_differences(certificates: Sequence[EngineCertificate]) -> Iterator[VerdictDifference]:
    """Gates whose items passed on one engine and failed on another; what was skipped on one says nothing there."""
    found: dict[str, list[tuple[str, dict[str, str], str]]] = {}
    for item in dict.fromkeys(item for certificate in certificates for item in certificate.verdicts):
        told = {one.engine: one.verdicts[item] for one in certificates if item in one.verdicts}
        words = {engine: outcome for engine, (_, outcome, _) in told.items() if outcome != "Skipped"}
        if len({outcome == "Corroborated" for outcome in words.values()}) > 1:
            gate = next(iter(told.values()))[0]
            reason = next(reason for _, outcome, reason in told.values() if outcome not in ("Skipped", "Corroborated"))
            found.setdefault(gate, []).append((item, words, reason))
    for gate, several in found.items():
        item, words, reason = several[0]
        yield VerdictDifference(gate, item, words, len(several), reason)
