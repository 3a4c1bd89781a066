"""Playbooks named with `--playbook` or as arguments: found, loaded and their models located before the first item."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_aprqa.collection import checks_namespace, is_playbook
from pytest_aprqa.run_settings import SettingsError, requested_playbooks, resolve_settings

if TYPE_CHECKING:
    from pytest_aprqa.recorder import Recorder

REQUESTED = pytest.StashKey[list[Path]]()


def add_to_arguments(config: pytest.Config) -> None:
    """Turn `--playbook` names into collection arguments. They replace the ini `testpaths`, not explicit arguments."""
    names = requested_playbooks(config)
    paths = find_all(config, names)
    config.stash[REQUESTED] = paths
    if not paths:
        return
    explicit = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    config.args = [*explicit, *(str(path) for path in paths if str(path) not in explicit)]
    config.args_source = pytest.Config.ArgsSource.ARGS


def find_all(config: pytest.Config, names: list[str]) -> list[Path]:
    """Paths of playbooks, each once, in the order given. A name that is not found is a usage error (exit 4)."""
    if not names:
        return []
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.lookup import find_playbook

    roots = [config.invocation_params.dir, config.rootpath]
    paths: list[Path] = []
    for name in names:
        try:
            path = find_playbook(name, roots)
        except PlaybookError as error:
            raise pytest.UsageError(f"--playbook: {error}") from None
        if path not in paths:
            paths.append(path)
    return paths


def is_requested(config: pytest.Config, path: Path) -> bool:
    """True for a file that `--playbook` names; on xdist workers the names are looked up again."""
    if REQUESTED not in config.stash:
        config.stash[REQUESTED] = find_all(config, requested_playbooks(config))
    return path in config.stash[REQUESTED]


def collector_of(parent: pytest.Collector, path: Path) -> pytest.Collector:
    """The node of a file that `--playbook` names, whatever it is called and whichever kind it is."""
    from pytest_aprqa.collection import PlaybookFile
    from pytest_aprqa.verification_items import VerificationCollector

    return VerificationCollector.of(parent, path) if _is_verification(path) else PlaybookFile.of(parent, path)


def check_before_run(config: pytest.Config, recorder: Recorder) -> None:
    """Load the requested playbooks, resolve settings, locate models, open the evidence folder; else a usage error."""
    requested: list[Path] = config.stash[REQUESTED]
    paths = [*requested]
    for argument in config.args:
        path = Path(os.path.abspath(config.invocation_params.dir / argument.split("::", 1)[0]))
        if is_playbook(path) and path.is_file() and path not in paths:
            paths.append(path)
    if not paths:
        return
    checks_namespace(config)
    _check_selection(config)
    models = [path for path in paths if not _is_verification(path)]
    for path in paths:
        recorder.header += _compared_with_lock(config, path)
        if path in models:
            recorder.header += _check_one(config, path)
        else:
            recorder.header.append(f"verification: {path}")
    if not config.option.collectonly:
        named = models or paths
        recorder.open_folder([path.name.split(".playbook.")[0].removesuffix(".yaml") for path in named])


def _check_selection(config: pytest.Config) -> None:
    """UsageError for a part or a depth that does not exist, before workers are started and a folder is made."""
    from pytest_aprqa.item_selection import depth_asked
    from pytest_aprqa.options import option_or_ini
    from pytest_aprqa.sharding import parse_shard

    depth_asked(config)
    if (shard := option_or_ini(config, "--shard")) is not None:
        parse_shard(str(shard))


def _compared_with_lock(config: pytest.Config, path: Path) -> list[str]:
    """UsageError when a lock file beside or above lists the playbook with other bytes; lines for the report header."""
    from pytest_aprqa.options import option_or_ini
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.lock import check_lock, lock_of

    if option_or_ini(config, "--no-integrity-check"):
        return [f"warning: {path.name} is not compared with a lock file (--no-integrity-check)"]
    try:
        found = lock_of(path)
    except PlaybookError as error:
        return [f"warning: {path.name} is not compared with its lock file: {error}"]
    if found is None:
        return []
    try:
        check_lock(path, found[1])
    except PlaybookError as error:
        raise pytest.UsageError(f"{error}, or run it with --no-integrity-check") from None
    return []


def _is_verification(path: Path) -> bool:
    """True for a ticket, hypotheses or gateway specification file. A bad one is a usage error."""
    from pytest_aprqa.playbooks.errors import PlaybookError
    from pytest_aprqa.playbooks.verification import load_verification

    if is_playbook(path):
        return False
    try:
        return load_verification(path) is not None
    except PlaybookError as error:
        raise pytest.UsageError(str(error)) from None


def _check_one(config: pytest.Config, path: Path) -> list[str]:
    """Load one playbook and locate its model; lines for the report header."""
    from pytest_aprqa.collection_memory import playbook_of
    from pytest_aprqa.model_under_test import FormatNotAvailable, ModelUnderTest
    from pytest_aprqa.models.errors import ModelError
    from pytest_aprqa.playbooks.errors import PlaybookError

    try:
        playbook = playbook_of(config, path)
        settings = resolve_settings(config, playbook)
        lines = [f"playbook: {path}", *(f"warning: {warning}" for warning in playbook.warnings)]
        lines += [f"[WARN] Implicit skip detected: {name}" for name in playbook.implicit_skips]
        if not config.option.collectonly:
            model = ModelUnderTest(playbook, settings)
            location = model.location
            if settings.against is not None:
                model.source_of_against()
            lines.append(f"model: {playbook.model.hf_repo} in {location.folder} ({location.how})")
        named = ", ".join(
            f"{flag[2:]} from {source}" for flag, source in settings.sources.items() if source != "default"
        )
        lines.append(
            f"policy: {settings.failure_policy}, limit {settings.timeout_ms} ms a scenario"
            + (f", tier {settings.tier}" if settings.tier else "")
            + (f" ({named})" if named else "")
        )
    except (PlaybookError, SettingsError, FormatNotAvailable) as error:
        raise pytest.UsageError(str(error)) from None
    except ModelError as error:
        raise pytest.UsageError(f"{path.name}: {error}") from None
    return lines
