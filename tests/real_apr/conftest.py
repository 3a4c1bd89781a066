"""Every test of this folder needs the released `apr` program; without it they are skipped with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.real_apr.real_program import RELEASE, Apr, find_apr

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.real_apr)


@pytest.fixture(scope="session")
def apr(tmp_path_factory: pytest.TempPathFactory) -> Apr:
    """The program, release 0.72.3; another release would make these facts untrue rather than wrong."""
    path = find_apr()
    if path is None:
        pytest.skip(f"no `apr` program: install release {RELEASE} or name it in APR_BINARY")
    program = Apr(path, tmp_path_factory.mktemp("apr-home"))
    if program.version() != RELEASE:
        pytest.skip(f"{path} is release {program.version()}; these tests state what release {RELEASE} does")
    return program
