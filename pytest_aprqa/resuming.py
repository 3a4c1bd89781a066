"""`--resume RUN_FOLDER`: what a killed run recorded is replayed as its outcome, marked cached; the rest is run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.evidence.collection_record import CACHED, ITEM_KEY, item_name

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence
    from pytest_aprqa.run_state import RunState

LOG_NAME = "evidence.jsonl"


class Replayed(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """Raised instead of running an item. A kind of skip, so that debuggers do not stop at it."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__("replayed from the log of an earlier run")
        self.evidence = evidence


_REPLAYED: pytest.StashKey[Evidence] = pytest.StashKey()
RECORDED: pytest.StashKey[dict[str, Evidence]] = pytest.StashKey()


def resumed_folder(config: pytest.Config) -> Path | None:
    """The folder of `--resume`; UsageError when it has no log of a run."""
    from pytest_aprqa.options import option_or_ini

    given = option_or_ini(config, "--resume")
    if given is None:
        return None
    folder = Path(config.invocation_params.dir / Path(str(given)).expanduser()).resolve()
    if not (folder / LOG_NAME).is_file():
        raise pytest.UsageError(f"--resume: {folder} has no {LOG_NAME}; name the folder of a run")
    return folder


def recorded_entries(config: pytest.Config) -> dict[str, Evidence]:
    """The last entry of each item by item name, of entries that have a key. UsageError: the log is damaged."""
    if config.option.collectonly or (folder := resumed_folder(config)) is None:
        return {}
    from pytest_aprqa.evidence.errors import EvidenceError
    from pytest_aprqa.evidence.log import read_log

    try:
        entries = read_log(folder / LOG_NAME).entries
    except EvidenceError as error:
        raise pytest.UsageError(f"--resume: {error}") from None
    last = {item_name(entry.node_id): entry for entry in entries if entry.node_id}
    return {name: entry for name, entry in last.items() if entry.metadata.get(ITEM_KEY)}


def replay(item: pytest.Item, state: RunState) -> None:
    """Raise Replayed when the item is recorded under the key that it has now, and it would be run."""
    recorded = item.config.stash.get(RECORDED, {}).get(item_name(item.nodeid))
    if recorded is None:
        return
    from pytest_aprqa.item_selection import reason_to_skip
    from pytest_aprqa.run_stamps import item_key

    if reason_to_skip(item, state) is not None or item_key(item, state) != recorded.metadata[ITEM_KEY]:
        return
    item.stash[_REPLAYED] = recorded
    raise Replayed(recorded)


def replay_again(item: pytest.Item) -> None:
    """Raise Replayed in the call of an item that was replayed in its setup."""
    if (recorded := item.stash.get(_REPLAYED, None)) is not None:
        raise Replayed(recorded)


def replayed_report(report: pytest.TestReport, recorded: Evidence) -> None:
    """Turn the report of a replayed item into the recorded outcome; a setup is always passed, the call decides."""
    report.longrepr = None
    if report.when != "call" or not recorded.outcome.failed:
        report.outcome = "passed"
        return
    report.outcome = "failed"
    report.longrepr = f"{recorded.gate_id} {recorded.outcome.value}: {recorded.reason} (cached)"


def cached(recorded: Evidence, metadata: dict[str, Any]) -> Evidence:
    """The recorded entry as one of this run: marked, with this run's facts in its metadata, else as it was."""
    return dataclasses.replace(recorded, metadata=recorded.metadata | metadata | {CACHED: "true"})
