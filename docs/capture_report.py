"""Makes a small run with two seeded defects and takes the pictures of its report that the documentation shows.

python docs/capture_report.py [--run FOLDER]   (needs the extra `browser` and a Chromium, see tests/browser)
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
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
# name -> (colour scheme, width, selector of the part to show; None: what a first look shows)
PICTURES: dict[str, tuple[str, int, str | None]] = {
    "report-light": ("light", 960, None),
    "report-dark": ("dark", 960, None),
    "report-narrow": ("light", 420, None),
    "report-drift": ("light", 960, "#drift"),
    "report-tokens": ("light", 960, "#tokens"),
    "report-divergence": ("light", 960, "#divergence"),
    "report-speed": ("light", 960, "#speed"),
    "report-evidence": ("light", 960, "#evidence"),
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


def take(report: Path, folder: Path) -> list[Path]:
    """Take all PICTURES of a report.html; RuntimeError when one is larger than LARGEST_PICTURE."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    folder.mkdir(exist_ok=True)
    taken = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name, (scheme, width, selector) in PICTURES.items():
            options: Any = {"color_scheme": scheme, "viewport": {"width": width, "height": HEIGHT}}
            page = browser.new_page(**options)
            page.goto(report.resolve().as_uri())
            path = folder / f"{name}.png"
            if selector == "#evidence":
                page.select_option("#by-outcome", "Falsified")
                page.locator("#entries tbody button").first.click()
                page.locator("#evidence").scroll_into_view_if_needed()
                page.evaluate("document.getElementById('evidence').scrollIntoView()")
                page.screenshot(path=path)
            elif selector:
                page.locator(selector).screenshot(path=path)
            else:
                page.screenshot(path=path)
            page.close()
            taken.append(path)
        browser.close()
    for path in taken:
        if path.stat().st_size > LARGEST_PICTURE:
            raise RuntimeError(f"{path}: {path.stat().st_size} bytes, limit {LARGEST_PICTURE}; show a smaller part")
    return taken


def main() -> int:
    """Make the run unless one is named, take the pictures, say where they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a run; default: make the run with the defects")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="where the pictures go")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run = chosen.run or broken_run(Path(name))
        for path in take(run / "report.html", chosen.output):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
