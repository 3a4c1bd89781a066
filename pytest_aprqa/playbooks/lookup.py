"""find_playbook: a name or path as a user types it to a file; where it looked and what is close when there is none."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_aprqa.playbooks.errors import PlaybookError, one_line

SUFFIX = ".playbook.yaml"
FOLDERS = ("", "playbooks", "playbooks/models", "playbooks/templates", "playbooks/verify", "playbooks/spec")
CLOSE_MATCHES = 3


def find_playbook(name_or_path: str, roots: Sequence[Path], *, bundled: Path | None = None) -> Path:
    """The absolute path of a playbook.

    An existing file is taken as it is. Else NAME, NAME.playbook.yaml and NAME.yaml are looked for (a `.yaml` that was
    typed is exchanged too, so `x.yaml` finds `x.playbook.yaml`) in each root, its `playbooks/` and
    `models/`, `templates/`, `verify/` and `spec/` there, then in BUNDLED (default: what the package carries).
    PlaybookError has every folder in `places` and names the closest playbooks.
    """
    name = name_or_path.strip()
    if not name:
        raise PlaybookError("", "the name of the playbook is empty", advice="give a name or a path")
    exact = Path(name).expanduser() if name.startswith("~") else Path(name)
    for base in (Path(), *roots):
        if _is_file(base / exact):
            return _absolute(base / exact)
    if _is_folder(exact):
        raise PlaybookError(exact, "is a folder, not a playbook", advice=f"name a {SUFFIX} file in it")
    if bundled is None:
        from pytest_aprqa.models.bundled import bundled_folder

        bundled = bundled_folder()
    folders = list(dict.fromkeys(_absolute(root / folder) for root in (*roots, bundled) for folder in FOLDERS))
    names = candidate_names(name)
    if not exact.is_absolute():
        for folder in folders:
            for candidate in names:
                if _is_file(folder / candidate):
                    return _absolute(folder / candidate)
    raise _not_found(name, names, folders)


def candidate_names(name: str) -> list[str]:
    """File names that a typed name may stand for, the most literal first."""
    stem = name
    for suffix in (SUFFIX, ".playbook.yml", ".yaml", ".yml"):
        if stem.endswith(suffix):
            stem = stem.removesuffix(suffix)
            break
    return list(dict.fromkeys([name, stem + SUFFIX, stem + ".yaml"]))


def available_playbooks(folders: Iterable[Path]) -> list[str]:
    """Names of the playbooks and templates in FOLDERS (not below them), sorted, as find_playbook accepts them."""
    names: set[str] = set()
    for folder in folders:
        try:
            files = [entry.name for entry in os.scandir(folder) if entry.is_file()]
        except (OSError, ValueError):
            continue
        names.update(file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX))
        if folder.name == "templates":
            names.update(file.removesuffix(".yaml") for file in files if file.endswith(".yaml"))
    return sorted(names)


def _not_found(name: str, names: list[str], folders: list[Path]) -> PlaybookError:
    if Path(name).is_absolute():
        return PlaybookError(name, "no such playbook", advice="check the path", places=[str(Path(name).parent)])
    available = available_playbooks(folders)
    stem = Path(names[1].removesuffix(SUFFIX)).name
    close = difflib.get_close_matches(stem[:200], available, n=CLOSE_MATCHES, cutoff=0.5)
    close = list(dict.fromkeys([n for n in available if stem and n.startswith(stem)][:CLOSE_MATCHES] + close))
    if close:
        advice = f"did you mean {' or '.join(close[:CLOSE_MATCHES])}?"
    else:
        advice = f"playbooks here: {one_line(', '.join(available), 300) or 'none'}"
    places = [str(folder) for folder in folders]
    listed = ", ".join(one_line(candidate, 100) for candidate in names)
    return PlaybookError(
        name, f"no such playbook; looked for {listed} in {', '.join(places)}", advice=advice, places=places
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
