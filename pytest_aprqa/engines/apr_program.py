"""Which `apr` program this is: version, build features and the arguments it takes. Asked once per program."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_aprqa.engines.apr_output import json_of, plain
from pytest_aprqa.engines.errors import EngineError, EngineUnavailable
from pytest_aprqa.engines.process import Finished, run_program

PROBE_LIMIT_S = 20.0
ADVICE = "give the path of an `apr` program, release 0.72.3 or its older form"


@dataclass(frozen=True, slots=True)
class AprProgram:
    """A probed program. `new` is the form of release 0.72.3; `flags` maps a command to the flags it takes."""

    path: Path
    version: str
    commit: str | None
    new: bool
    cuda: bool
    flags: dict[str, frozenset[str]] = field(default_factory=dict)

    def takes(self, command: str, flag: str) -> bool:
        """Whether a command, `run` or `serve run`, takes a flag; unknown commands take none."""
        return flag in self.flags.get(command, frozenset())


def find_program(name: str | os.PathLike[str]) -> Path:
    """Absolute path of a program given as a path or as a name on PATH. EngineUnavailable with the advice."""
    found = shutil.which(os.path.expanduser(name))
    if found is None:
        where = "no such program" if not Path(name).expanduser().exists() else "it is not an executable file"
        raise EngineUnavailable(f"{name}: {where}; {ADVICE}")
    return Path(os.path.abspath(found))


@functools.lru_cache(maxsize=8)
def probe(path: Path) -> AprProgram:
    """Ask the program what it is. EngineUnavailable when it does not answer as an `apr` does."""
    told = _ask(path, "--version", "--json")
    try:
        fields: dict[str, Any] = json_of(told.stdout)
    except EngineError:
        return _older(path, told)
    version = fields.get("version")
    if fields.get("name") != "apr" or not isinstance(version, str):
        raise EngineUnavailable(f"{path}: `--version --json` names {fields.get('name')!r}, not apr; {ADVICE}")
    flags = _surface(path)
    cuda = fields.get("cuda_feature") is True
    return AprProgram(path, version, _text(fields.get("git_sha")), bool(flags), cuda, flags or _helped(path))


def _older(path: Path, told: Finished) -> AprProgram:
    text = told.stdout if told.status == 0 else _ask(path, "--version").stdout
    match = re.search(r"^apr(?:-cli)? v?(\d+\.\d+\.\d+\S*)(?: \((\w+)\))?", plain(text), re.MULTILINE)
    if match is None:
        raise EngineUnavailable(f"{path}: `--version` prints {text.strip()[:80]!r}, not an apr version; {ADVICE}")
    flags = _surface(path)
    return AprProgram(path, match[1], match[2], bool(flags), False, flags or _helped(path))


def _surface(path: Path) -> dict[str, frozenset[str]]:
    """Flags by command, from the hidden `surface`; empty for a program that does not have it."""
    done = _ask(path, "surface")
    if done.status != 0:
        return {}
    try:
        commands = json.loads(done.stdout)["commands"]
        return {
            " ".join(command["path"]): frozenset(
                name
                for argument in command["args"]
                for name in (f"--{argument['long']}" if argument.get("long") else None, _short(argument))
                if name
            )
            for command in commands
        }
    except (ValueError, TypeError, KeyError):
        return {}


def _short(argument: dict[str, Any]) -> str | None:
    return f"-{argument['short']}" if argument.get("short") else None


def _helped(path: Path) -> dict[str, frozenset[str]]:
    """The same from `--help` of the commands that an engine needs."""
    flags = {}
    serve = _ask(path, "serve", "--help").stdout
    served = ("serve run", "serve", "run") if re.search(r"^\s+run\b", plain(serve), re.MULTILINE) else ("serve",)
    for command in ("run", "chat", served[0]):
        text = plain(_ask(path, *command.split(), "--help").stdout)
        flags[command] = frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    return flags


def _ask(path: Path, *arguments: str) -> Finished:
    try:
        return run_program([str(path), *arguments], limit_s=PROBE_LIMIT_S)
    except TimeoutError:
        raise EngineUnavailable(
            f"{path}: `{' '.join(arguments)}` did not end within {PROBE_LIMIT_S:.0f} s; {ADVICE}"
        ) from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
