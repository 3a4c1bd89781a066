"""The settings of one playbook in this run, resolved in one order: command line, ini file, playbook, default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.options import OPTIONS, given, option_or_ini

if TYPE_CHECKING:
    from pytest_aprqa.engines.plugins import EnginePlugin
    from pytest_aprqa.playbooks.playbook import Playbook

# Range of a time limit, spec of `test_matrix.timeout_ms`.
TIMEOUT_MS_LIMITS = (1000, 600_000)
_PLUGINS = pytest.StashKey[tuple["EnginePlugin", ...]]()


class SettingsError(ValueError):
    """An option, ini key or playbook field has a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What one playbook runs with. `sources` says where each value came from (option, ini, playbook, default)."""

    model_path: Path | None
    model_cache: Path | None
    against: Path | None
    apr_binary: str | None
    no_gpu: bool
    tier: str | None
    failure_policy: str
    timeout_ms: int
    sources: dict[str, str]
    engine: tuple[str, ...] = ()
    engine_url: str | None = None
    plugins: tuple[EnginePlugin, ...] = ()

    @property
    def restricting_tier(self) -> str | None:
        """The tier that the user asked for. One that the playbook declares is its own matrix: nothing is left out."""
        return self.tier if self.sources.get("--tier") in ("option", "ini") else None


def resolve_settings(config: pytest.Config, playbook: Playbook | None) -> RunSettings:
    """Resolve every setting. `playbook` None gives what the command line and the ini file say."""
    from pytest_aprqa.playbooks.policies import FailurePolicy
    from pytest_aprqa.playbooks.settings import resolve
    from pytest_aprqa.playbooks.tiers import parse_tier

    sources: dict[str, str] = {}

    def value(flag: str, playbook_value: Any = None) -> Any:
        option = next(o for o in OPTIONS if o.flag == flag)
        command_line, ini = given(config, flag)
        found, sources[flag] = resolve(command_line, ini, playbook_value, option.default)
        return found

    policy = value("--failure-policy", playbook.failure_policy if playbook else None)
    try:
        policy = FailurePolicy.parse(str(getattr(policy, "value", policy))).value
        tier = value("--tier", playbook.tier if playbook else None)
        tier = parse_tier(str(tier)).name if tier is not None else None
    except ValueError as error:
        raise SettingsError(str(error)) from None
    engine = tuple(value("--engine") or ())
    apr_binary, plugins = value("--apr-binary"), engine_plugins(config)
    _check_engines(engine, plugins, apr_binary)
    timeout = value("--scenario-timeout", playbook.matrix.timeout_ms if playbook else None)
    return RunSettings(
        model_path=_path(config, value("--model-path")),
        model_cache=_path(config, value("--model-cache")),
        against=_path(config, value("--against")),
        apr_binary=apr_binary,
        no_gpu=bool(value("--no-gpu")),
        tier=tier,
        failure_policy=policy,
        timeout_ms=_timeout(timeout, sources["--scenario-timeout"]),
        sources=sources,
        engine=engine,
        engine_url=_address(value("--engine-url")),
        plugins=plugins,
    )


def engine_plugins(config: pytest.Config) -> tuple[EnginePlugin, ...]:
    """Engines that the hook and entry points add, in this order; asked once. SettingsError where one does not load."""
    if _PLUGINS not in config.stash:
        config.stash[_PLUGINS] = _load_plugins(config)
    return config.stash[_PLUGINS]


def _load_plugins(config: pytest.Config) -> tuple[EnginePlugin, ...]:
    from importlib.metadata import entry_points

    from pytest_aprqa.engines.plugins import ENTRY_POINT

    found = [engine for engines in config.hook.pytest_aprqa_engines(config=config) for engine in engines]
    for entry_point in entry_points(group=ENTRY_POINT):
        try:
            found.append(entry_point.load())
        except Exception as error:  # whatever a foreign module raises
            raise SettingsError(
                f"engine {entry_point.name} of entry point {entry_point.value}: {type(error).__name__}: {error}"
            ) from None
    return tuple(found)


def _check_engines(engine: tuple[str, ...], plugins: tuple[EnginePlugin, ...], apr_binary: str | None) -> None:
    """What can be known before anything runs: names of engines, and that the `apr` program is there and is one."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.engines.plugins import EngineChoiceError, all_engines, parse_choices

    try:
        chosen = parse_choices(engine, all_engines(plugins))
    except EngineChoiceError as error:
        raise SettingsError(str(error)) from None
    if apr_binary is not None or "apr" in chosen.values():
        from pytest_aprqa.engines.apr_program import find_program, probe

        try:
            probe(find_program(apr_binary or "apr"))
        except EngineUnavailable as error:
            raise SettingsError(f"--apr-binary {error}") from None


def _address(value: str | None) -> str | None:
    """An http(s) address without a key in it."""
    from urllib.parse import urlsplit

    if value is None:
        return None
    try:
        parts = urlsplit(value)
        _ = parts.port
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"--engine-url: found {value!r}; give http://HOST:PORT or https://HOST")
    if parts.username or parts.password or parts.query:
        raise SettingsError(
            "--engine-url: found a user name, a password or a query in it; put the key in APRQA_ENGINE_KEY"
        )
    return value.rstrip("/").removesuffix("/v1")


def _timeout(value: Any, source: str) -> int:
    low, high = TIMEOUT_MS_LIMITS
    try:
        milliseconds = int(value)
    except (TypeError, ValueError):
        milliseconds = -1
    if not low <= milliseconds <= high:
        raise SettingsError(
            f"--scenario-timeout ({source}): found {value!r}, limit {low} to {high} ms; give whole milliseconds"
        )
    return milliseconds


def _path(config: pytest.Config, value: str | None) -> Path | None:
    if value is None:
        return None
    return Path(os.path.abspath(config.invocation_params.dir / Path(value).expanduser()))


def requested_playbooks(config: pytest.Config) -> list[str]:
    """Names or paths given with `--playbook` (command line, else ini)."""
    return list(option_or_ini(config, "--playbook") or [])
