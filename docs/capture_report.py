"""Makes the runs whose reports the documentation shows (sound, with two defects, with tried gates), and the pictures.

python docs/capture_report.py [--run KIND=FOLDER]   (needs the extra `browser` and a Chromium, see tests/browser)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
IMAGES = DOCS / "images"
LARGEST_PICTURE = 150_000  # bytes
HEIGHT = 660  # of a first look, pixels
DEFECTS = ("gguf-q8-row-damaged", "gguf-pre-tokenizer-wrong")
PLAYBOOK = """\
name: tiny-qwen2-broken
version: 1.0.0
model:
  hf_repo: aprqa/tiny-qwen2
  local_path: tiny-qwen2
  formats: [safetensors, apr, gguf]
  quantizations: [bf16, q8_0]
  size_category: tiny
test_matrix:
  modalities: [run, chat, serve]
  backends: [cpu, gpu]
  scenario_count: 4
  timeout_ms: 60000
  max_tokens: 48
  prompts: ["What is 2+2?", "Calculate 7*8", "def fibonacci(n):", "What is Python?"]
oracles:
  - {type: arithmetic, config: {tolerance: 0.01}}
  - {type: garbage, config: {max_repetition_ratio: 0.3, min_unique_chars: 10}}
"""
# Defects whose copies are small and judged without an engine: a picture that fits a page, made in a minute.
TRIED = "gguf-q8 or gguf-rope or gguf-merges or gguf-tensor or gguf-tokenizer or (clean and gguf)"
BROKEN, SOUND, GATES = "broken", "sound", "gates"
# name -> (kind of run, colour scheme, width, selector of the part to show; None: what a first look shows)
PICTURES: dict[str, tuple[str, str, int, str | None]] = {
    "report-certified": (SOUND, "light", 960, "#verdict"),
    "report-light": (BROKEN, "light", 960, None),
    "report-dark": (BROKEN, "dark", 960, None),
    "report-narrow": (BROKEN, "light", 420, None),
    "report-drift": (BROKEN, "light", 960, "#drift"),
    "report-tokens": (BROKEN, "light", 960, "#tokens"),
    "report-divergence": (BROKEN, "light", 960, "#divergence"),
    "report-speed": (BROKEN, "light", 960, "#speed"),
    "report-evidence": (BROKEN, "light", 960, "#evidence"),
    "report-kills": (GATES, "light", 960, "#kills"),
}


def broken_run(folder: Path) -> Path:
    """Qualify the bundled model with a GGUF file that carries the DEFECTS; the folder of the run."""
    from pytest_aprqa.defects.catalogue import apply_defect

    model = folder / "tiny-qwen2"
    shutil.copytree(DOCS.parent / "models" / "tiny-qwen2", model)
    derive = [sys.executable, "-m", "pytest_aprqa.cli.main", "derive", str(model), "--format", "gguf"]
    file = folder / "0.gguf"
    subprocess.run([*derive, "--dtype", "q8_0", "-o", str(file)], check=True, stderr=subprocess.DEVNULL)
    for number, name in enumerate(DEFECTS, 1):
        file = apply_defect(name, file, folder / f"{number}.gguf")
    shutil.copyfile(file, model / "model-q8_0.gguf")
    (folder / "tiny-qwen2-broken.playbook.yaml").write_text(PLAYBOOK, encoding="utf-8")
    arguments = [sys.executable, "-m", "pytest", "-q", "--playbook", "tiny-qwen2-broken.playbook.yaml"]
    subprocess.run(arguments, cwd=folder, check=False, stdout=subprocess.DEVNULL)  # it fails: that is the picture
    return folder / "evidence" / "latest"


def packaged_run(folder: Path, *options: str) -> Path:
    """Run the demo's playbook with OPTIONS in an empty folder; the folder of the run."""
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    arguments = [sys.executable, "-m", "pytest", "-q", "--playbook", "tiny-qwen2-mvp", *options]
    subprocess.run(arguments, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder / "evidence" / "latest"


def report_with_kills(run: Path, tried: Path, folder: Path) -> Path:
    """A copy of a RUN with the kill matrix of the run TRIED beside its evidence, and its report made again."""
    shutil.copytree(run, folder)
    shutil.copyfile(tried / "kill_matrix.json", folder / "kill_matrix.json")
    report = [sys.executable, "-m", "pytest_aprqa.cli.main", "report", str(folder), "--formats", "html"]
    subprocess.run(report, check=True, stdout=subprocess.DEVNULL)
    return folder


def made_runs(kinds: Iterable[str], named: dict[str, Path], folder: Path) -> dict[str, Path]:
    """The folders of all KINDS of runs: those NAMED, the others made below FOLDER."""
    runs = dict(named)
    if BROKEN in kinds and BROKEN not in runs:
        runs[BROKEN] = broken_run(folder)
    if SOUND not in runs and {SOUND, GATES} & set(kinds):
        runs[SOUND] = packaged_run(folder / SOUND)
    if GATES in kinds:
        tried = named.get(GATES) or packaged_run(folder / GATES, "--falsify", "-k", TRIED)
        runs[GATES] = report_with_kills(runs[SOUND], tried, folder / "kills")
    return {kind: runs[kind] for kind in kinds}


def take(runs: dict[str, Path], folder: Path) -> list[Path]:
    """Take the PICTURES of the reports of RUNS, by kind; RuntimeError when one is larger than LARGEST_PICTURE."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    folder.mkdir(exist_ok=True)
    taken = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, (kind, scheme, width, selector) in PICTURES.items():
            if kind not in runs:
                continue
            options: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": HEIGHT}}
            page = browser.new_page(**options)
            page.goto((runs[kind] / "report.html").resolve().as_uri())
            path = folder / f"{name}.png"
            photograph(page, selector, path)
            page.close()
            taken.append(path)
        browser.close()
    for path in taken:
        if path.stat().st_size > LARGEST_PICTURE:
            raise RuntimeError(f"{path}: {path.stat().st_size} bytes, limit {LARGEST_PICTURE}; show a smaller part")
    return taken


def photograph(page: Any, selector: str | None, path: Path) -> None:
    """Write the picture of a part of the page; without SELECTOR of what a first look shows."""
    if selector == "#evidence":
        page.select_option("#by-outcome", "Falsified")
        page.locator("#entries tbody button").first.click()
        page.evaluate("document.getElementById('evidence').scrollIntoView()")
    if selector in (None, "#evidence"):
        page.screenshot(path=path)
        return
    if selector == "#kills":  # the picture; the table below it has the same in words
        page.evaluate("document.querySelector('#kills details').open = false")
    page.locator(selector).screenshot(path=path)


def main() -> int:
    """Make the runs that are not named, take the pictures, say where they are."""
    kinds = (BROKEN, SOUND, GATES)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--run", action="append", default=[], metavar="KIND=FOLDER", help=f"a finished run; kinds: {', '.join(kinds)}"
    )
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="where the pictures go")
    parser.add_argument("--only", choices=kinds, help="take the pictures of this kind of run only")
    chosen = parser.parse_args()
    named = {kind: Path(folder) for kind, _, folder in (text.partition("=") for text in chosen.run)}
    if unknown := sorted(set(named) - set(kinds)):
        parser.error(f"--run {unknown[0]}: the kinds are {', '.join(kinds)}")
    with tempfile.TemporaryDirectory() as name:
        wanted = [chosen.only] if chosen.only else kinds
        for path in take(made_runs(wanted, named, Path(name)), chosen.output):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
