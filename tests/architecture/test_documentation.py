"""The documentation is true: generated pages are up to date, links lead somewhere, named targets exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "docs" / script), *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=False,
    )


@pytest.mark.parametrize("script", ["generate_plugin_reference.py", "generate_reference.py"])
def test_generated_reference_is_up_to_date(script):
    result = run(script, "--check")
    assert result.returncode == 0, f"run: python docs/{script}\n{result.stdout}{result.stderr}"


def test_a_stale_page_is_seen(tmp_path):
    sys.path.insert(0, str(REPOSITORY / "docs"))
    try:
        import generate_plugin_reference as generator
    finally:
        sys.path.pop(0)
    for name, write in generator.PAGES.items():
        (tmp_path / name).write_text(write(), encoding="utf-8")
    assert generator.stale_pages(tmp_path) == []
    (tmp_path / "options.md").write_text("# Options\n", encoding="utf-8")
    (difference,) = generator.stale_pages(tmp_path)
    assert "+| `--tier TIER`" in difference


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert not broken, f"{page.name}: {broken}"


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_has_the_numbers_of_the_kill_matrix_and_the_registry():
    """Defects and clean models of the captured run, and how many models of the registry are still to be run."""
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    matrix = (REPOSITORY / "docs" / "reference" / "kill-matrix.md").read_text(encoding="utf-8")
    killed = re.search(r"^- (\d+ of \d+) defects killed", matrix, re.MULTILINE)
    rejected = re.search(r"^- (\d+ of \d+) clean models rejected", matrix, re.MULTILINE)
    assert killed
    assert rejected
    assert f"Of the bundled model {killed[1]} are named, and {rejected[1]} clean models are refused" in readme
    rows = (REPOSITORY / "docs" / "certifications" / "models.csv").read_text(encoding="utf-8").splitlines()[1:]
    pending = [row for row in rows if row.split(",")[4] == "PENDING"]
    assert f"Of the [{len(pending)} published models]" in readme


def test_every_page_is_reachable_from_the_index():
    index = REPOSITORY / "docs" / "index.md"
    seen, waiting = set(), [index]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            path = (page.parent / target.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file():
                waiting.append(path)
    missing = set((REPOSITORY / "docs").rglob("*.md")) - seen
    assert not missing, [str(p.relative_to(REPOSITORY)) for p in sorted(missing)]
