"""Runs a sample of the scenarios of a certificate again, with pytest, and compares outcomes and answers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_aprqa.evidence.collection_record import name_of
from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.reporting.certificate_comparison import FAILED, NOT_CHECKED, PASSED, Check
from pytest_aprqa.reporting.hostile_text import clipped, one_line

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

JUDGED = (Outcome.CORROBORATED, Outcome.FALSIFIED)
ENGINES = ("torch", "llama", "apr")  # that `--engine` can be told again
SAME_ENGINE = ("name", "version", "backend", "dtype")
TEXT_LIMIT = 80


def sample(evidence: Sequence[Evidence], count: int, seed: str) -> list[Evidence]:
    """COUNT scenarios that an engine answered, by the digest of SEED and item: nobody can choose them beforehand."""
    candidates = [e for e in evidence if e.engine and e.node_id and e.scenario.get("prompt") and e.outcome in JUDGED]
    ordered = sorted(candidates, key=lambda e: hashlib.sha256(f"{seed}{name_of(e)}".encode()).hexdigest())
    return ordered[:count]


def replay(
    chosen: Sequence[Evidence], playbooks: dict[str, Path], model_path: Path | None, arguments: Sequence[str] = ()
) -> list[Check]:
    """One check a scenario: the outcome is the recorded one, and so is the answer of the same engine at temperature 0.

    ARGUMENTS are further ones of pytest. A scenario whose playbook is not here is not checked.
    """
    checks, runnable = [], []
    for entry in chosen:
        if entry.playbook in playbooks:
            runnable.append(entry)
        else:
            detail = f"the playbook {entry.playbook} of the certificate is not here; run it in the folder that has it"
            checks.append(Check(_title(entry), FAILED, detail))
    if not chosen:
        return [Check("replay", NOT_CHECKED, "the evidence has no scenario that an engine answered")]
    if not runnable:
        return checks
    with tempfile.TemporaryDirectory(prefix="aprqa-verify-") as folder:
        again, told = _run(runnable, playbooks, model_path, arguments, Path(folder))
    return checks + [_compare(entry, again.get(name_of(entry)), told) for entry in runnable]


def _run(
    chosen: Sequence[Evidence],
    playbooks: dict[str, Path],
    model_path: Path | None,
    arguments: Sequence[str],
    folder: Path,
) -> tuple[dict[str, Evidence], str]:
    """Run the items in a process of their own; entries by item name, and the last line that pytest said."""
    from pytest_aprqa.evidence.log import read_log

    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")  # no configuration of the caller's project
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(folder / "pytest.ini")]
    command += [f"--evidence-dir={folder / 'run'}", "--failure-policy=collect-all"]
    command += [f"--model-path={model_path}"] if model_path is not None else []
    for format_name, engine in sorted({(str(e.scenario["format"]), str((e.engine or {}).get("name"))) for e in chosen}):
        command += [f"--engine={format_name}={engine}"] if engine in ENGINES else []
    command += [*arguments, *(f"{playbooks[str(e.playbook)]}::{str(e.node_id).split('::', 1)[1]}" for e in chosen)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    log = folder / "run" / "evidence.jsonl"
    entries = read_log(log).entries if log.is_file() else ()
    return {name_of(entry): entry for entry in entries}, said[-1] if said else f"pytest ended with {done.returncode}"


def _compare(recorded: Evidence, again: Evidence | None, told: str) -> Check:
    title = _title(recorded)
    if again is None:
        return Check(title, FAILED, f"could not be run again: {clipped(one_line(told), 200)}")
    if again.outcome is not recorded.outcome:
        reason = clipped(one_line(again.reason), 200)
        return Check(title, FAILED, f"recorded {recorded.outcome.value}, now {again.outcome.value}: {reason}")
    greedy = recorded.scenario.get("temperature") in (0, 0.0)
    if greedy and _engine(recorded) == _engine(again) and recorded.output != again.output:
        texts = " instead of ".join(repr(clipped(one_line(e.output), TEXT_LIMIT)) for e in (again, recorded))
        return Check(title, FAILED, f"the same engine answers {texts}")
    return Check(title, PASSED, f"{again.outcome.value} again")


def _engine(entry: Evidence) -> tuple[object, ...]:
    return tuple((entry.engine or {}).get(name) for name in SAME_ENGINE)


def _title(entry: Evidence) -> str:
    return f"replay: {name_of(entry).split('::', 1)[-1]}"
