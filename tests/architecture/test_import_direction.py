"""The arrows of the house: a room imports only what stands above it. Read from the source, function bodies included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pytest_aprqa"

FACE = "the pytest face"
# What a room may import of ours. Rooms are folders; all modules beside them are the pytest face.
MAY_IMPORT: dict[str, set[str]] = {
    "formats": set(),
    "oracles": set(),
    "evidence": set(),
    "models": {"formats"},
    "numerics": {"formats"},
    "engines": {"models", "formats"},
    "playbooks": {"models"},
    "scoring": {"evidence"},
    "reporting": {"scoring", "evidence"},
    "registry": {"scoring", "evidence"},
    "defects": {"formats", "models"},
    "lifecycle": {"formats", "models", "numerics", "engines"},
    "random_models": {"formats", "models", "lifecycle"},
}
MAY_IMPORT["suite"] = set(MAY_IMPORT) | {FACE}
MAY_IMPORT[FACE] = set(MAY_IMPORT) - {"cli"}
# `--falsify` is a part of the face with a folder of its own: it sees what the face sees, and the checks do not see it.
MAY_IMPORT["falsify"] = {*MAY_IMPORT[FACE], FACE}
MAY_IMPORT[FACE].add("falsify")
MAY_IMPORT["cli"] = set(MAY_IMPORT)

# Checks see of the face only what their fixtures are made of; never the plugin, its options or its recorder.
SUITE_MAY_USE = {
    "collection",
    "conversions",
    "engine_pool",
    "fixtures",
    "model_card",
    "model_under_test",
    "reference_answers",
    "run_state",
    "served_answers",
    "target",
}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, absolute module) of every import of ours in a file, also inside functions and for type checking."""
    package = ("pytest_aprqa", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "pytest_aprqa" else [module]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "pytest_aprqa")


def room_of(parts: tuple[str, ...]) -> str | None:
    """The room of a module below the package; None for the package itself."""
    if not parts:
        return None
    return parts[0] if (PACKAGE / parts[0]).is_dir() else FACE


def files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "_bundled" not in path.parts)


def wrong_imports(path: Path) -> list[str]:
    """Imports of a file that go against the arrows, as `file:line: module`."""
    mine = room_of(path.relative_to(PACKAGE).with_suffix("").parts)
    assert mine is not None
    found = []
    for line, module in imports_of(path):
        parts = tuple(module.split(".")[1:])
        other = room_of(parts)
        if other is None or other == mine:
            continue
        allowed = other in MAY_IMPORT[mine]
        if mine == "suite" and other == FACE:
            allowed = parts[0] in SUITE_MAY_USE
        if not allowed:
            found.append(f"{path.relative_to(PACKAGE.parent)}:{line}: {module} ({mine} may not import {other})")
    return found


def test_every_room_has_its_arrows():
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py"))}
    assert rooms <= set(MAY_IMPORT), f"a room without a place in the house: {sorted(rooms - set(MAY_IMPORT))}"


def test_imports_go_one_way():
    found = [line for path in files() for line in wrong_imports(path)]
    assert not found, "\n".join(found)


def test_the_arrows_have_no_cycle_between_rooms():
    """Apart from the face and its checks, which belong together, the table itself is a partial order."""
    faces = (FACE, "falsify", "suite", "cli")
    rooms = {room: set(others) - {FACE} for room, others in MAY_IMPORT.items() if room not in faces}
    done: set[str] = set()
    while ready := {room for room in rooms if room not in done and rooms[room] <= done}:
        done |= ready
    assert done == set(rooms)


@pytest.mark.parametrize(
    "statement",
    [
        "from pytest_aprqa.models.config import ModelConfig",
        "def function():\n    from pytest_aprqa.engines import host",
        "from pytest_aprqa import engines",
        "import pytest_aprqa.cli.main",
        "from ..scoring import score",
    ],
)
def test_a_wrong_arrow_is_seen(statement, tmp_path, monkeypatch):
    package = tmp_path / "pytest_aprqa"
    for room in ("formats", "models", "engines", "cli", "scoring"):
        (package / room).mkdir(parents=True)
    path = package / "formats" / "wrong.py"
    path.write_text(statement, encoding="utf-8")
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    assert len(wrong_imports(path)) == 1
