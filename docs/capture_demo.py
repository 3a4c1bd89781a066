"""Runs the commands whose output the documentation shows, and writes that output: demo.txt, demo.svg, tutorial pages.

`--check` runs them again and fails when a text differs in anything but times, versions and paths.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
WIDTH = 110
SUMMARY = re.compile(r"^=+ model qualification =+$")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Workplace:
    """A temporary folder in which the commands of the documentation run, with a home and caches of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("models", "playbooks"):
            shutil.copytree(REPOSITORY / name, folder / name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        scripts = str(Path(sys.executable).parent)
        self.environment = {
            "PATH": os.pathsep.join([scripts, os.environ.get("PATH", "")]),
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(folder / "home"),
            "APRQA_CACHE": str(folder / "cache"),
            "COLUMNS": str(WIDTH),
            "LANG": "C.UTF-8",
            "PYTHONUTF8": "1",
        }

    def pytest(self, *arguments: str) -> tuple[int, str]:
        """(exit code, coloured output) of one pytest command with this plugin and no other."""
        command = ["-m", "pytest", "-p", "pytest_aprqa.plugin", "-p", "no:cacheprovider", "--color=yes", *arguments]
        return self._run(command, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    def aprqa(self, *arguments: str) -> str:
        """What one `aprqa` command prints, which must succeed."""
        code, output = self._run(["-c", "from pytest_aprqa.cli.main import main; main()", *arguments])
        if code != 0:
            sys.exit(f"aprqa {' '.join(arguments)}: exit {code}\n{output}")
        return output

    def _run(self, arguments: list[str], **environment: str) -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            check=False,
        )
        return result.returncode, self._without_places(result.stdout)

    def _without_places(self, text: str) -> str:
        text = text.replace(f"{self.folder}/home", "~").replace(f"{self.folder}/", "").replace(str(self.folder), ".")
        return text.replace(f"{REPOSITORY}/", "")


def demo(place: Workplace) -> str:
    """The demo: what `make demo` prints, without the header of pytest and the lines of progress."""
    code, output = place.pytest("--playbook", "tiny-qwen2-mvp")
    expect(code, 0, output)
    return "$ pytest --playbook tiny-qwen2-mvp\n" + "\n".join(summary(output))


def nan(place: Workplace) -> str:
    """Tutorial, section 2."""
    place.aprqa("defects", "apply", "nan-in-tensor", "models/tiny-qwen2", "broken/nan")
    code, output = place.pytest("--playbook", "tiny-qwen2-mvp", "--model-path=broken/nan")
    expect(code, 1, output)
    return "\n".join(summary(output))


def subtle(place: Workplace) -> str:
    """Tutorial, section 3."""
    shutil.copytree(place.folder / "models" / "tiny-qwen2", place.folder / "broken" / "subtle")
    place.aprqa("derive", "models/tiny-qwen2", "--format", "gguf", "-o", "broken/whole.gguf")
    place.aprqa("defects", "apply", "gguf-tensor-scaled", "broken/whole.gguf", "broken/subtle/model.gguf")
    code, output = place.pytest("--playbook", "tiny-qwen2-mvp", "--model-path=broken/subtle")
    expect(code, 1, output)
    return "\n".join(summary(output))


def absent(place: Workplace) -> str:
    """How-to: the message for a model that is nowhere."""
    code, output = place.pytest("--playbook", "qwen-coder-mvp")
    expect(code, 4, output)
    return "\n".join(line for line in output.splitlines() if line.strip() and not line.startswith("\x1b[1m="))


def certify(place: Workplace) -> str:
    """How-to: a family in its smoke tier from a registry in which nothing was run, the registry and README after it."""
    csv, readme = (Path("docs/certifications") / name for name in ("models.csv", "README.md"))
    (place.folder / csv.parent).mkdir(parents=True)
    for file in (csv, readme):
        text = (REPOSITORY / file).read_text(encoding="utf-8")
        row = "aprqa/tiny-qwen2,tiny,2.6M,tiny,PENDING,0,-,none,,false,false,false,false,,,,,,,false"
        (place.folder / file).write_text(re.sub(r"(?m)^aprqa/tiny-qwen2,.*$", row, text), encoding="utf-8")
    lines = _shown(place, "certify", "--family", "tiny", "--tier", "smoke")
    lines += ["", f"$ tail -n 1 {csv}", (place.folder / csv).read_text(encoding="utf-8").splitlines()[-1], ""]
    lines += _shown(place, "readme-sync", "--csv", str(csv), "--readme", str(readme))
    table = (place.folder / readme).read_text(encoding="utf-8").splitlines()
    start = table.index("<!-- CERTIFICATION_TABLE_START -->")
    lines += ["", f"$ grep -A 12 TABLE_START {readme}; grep '/tiny-qwen2)' {readme}", *table[start : start + 13]]
    lines += [line for line in table if "/tiny-qwen2)" in line]
    all_models = _shown(place, "certify", "--all", "--tier", "mvp", "--no-gpu", "--dry-run")
    lines += ["", f"{all_models[0]} | tail -n 7", *all_models[-7:]]
    return "\n".join(_without_measures(line) for line in lines)


def own_model(place: Workplace) -> str:
    """How-to: a model in a folder of one's own: its playbook, the lock, the certification from there."""
    model = "acme/Tiny-2.6M"
    shutil.copytree(REPOSITORY / "models" / "tiny-qwen2", place.folder / "home" / "models" / model)
    cache = ("--model-cache", "~/models")
    lines = _shown(place, "bootstrap", "qwen2", "2.6m", "--hf-repo", model, "--tier", "smoke", *cache)
    lines += ["", *_shown(place, "lock-playbooks", "playbooks")]
    lines += ["", *_shown(place, "certify", model, "--tier", "smoke", *cache)]
    return "\n".join(_without_measures(line) for line in lines)


def _shown(place: Workplace, *arguments: str) -> list[str]:
    """An `aprqa` command as it is typed, and what it prints; `~` is the home of the workplace."""
    expanded = [re.sub("^~", f"{place.folder}/home", argument) for argument in arguments]
    return [f"$ aprqa {' '.join(arguments)}", *place.aprqa(*expanded).rstrip("\n").splitlines()]


def _without_measures(line: str) -> str:
    """DATE for times, N for speeds: a page of the documentation promises none."""
    line = re.sub(r"\d+\.\d tok/s", "N tok/s", line)
    line = re.sub(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d\+00:00| \d\d:\d\d UTC)", "DATE", line)
    return re.sub(r"(?<=[,|])( ?)\d+\.\d(?=[ ,])", r"\1N", line)


CAPTURES: dict[str, tuple[Callable[[Workplace], str], Path]] = {
    "demo": (demo, DOCS / "demo.txt"),
    "nan": (nan, DOCS / "tutorial.md"),
    "subtle": (subtle, DOCS / "tutorial.md"),
    "certify": (certify, DOCS / "how-to" / "certify-many-models.md"),
    "own-model": (own_model, DOCS / "how-to" / "certify-many-models.md"),
    "absent": (absent, DOCS / "how-to" / "absent-model.md"),
}


def expect(code: int, wanted: int, output: str) -> None:
    """Stop when a command of the documentation ends in another way than the documentation says."""
    if code != wanted:
        sys.exit(f"exit code {code}, expected {wanted}:\n{COLOUR.sub('', output)}")


def summary(output: str) -> list[str]:
    """The lines from the plugin's section to the end, without pytest's own list of failures between them."""
    lines = output.splitlines()
    start = next(i for i, line in enumerate(lines) if SUMMARY.match(COLOUR.sub("", line)))
    end = next(
        (i for i, line in enumerate(lines) if i > start and "short test summary" in COLOUR.sub("", line)),
        len(lines) - 1,
    )
    return [*lines[start:end], lines[-1]]


def normalised(text: str) -> str:
    """A text without what differs from run to run and from machine to machine."""
    text = COLOUR.sub("", text)
    text = re.sub(r"evidence/\d{8}[\w.+-]*", "evidence/RUN", text)
    text = re.sub(r"\b[0-9a-f]{8,64}\b", "DIGEST", text)
    text = re.sub(r" \(\d+:\d\d:\d\d\)", "", text)  # pytest adds it to a minute or more
    text = re.sub(r"\b\d+(\.\d+)? ?(ms|s|tok/s|tokens/s|MB|MiB)\b", r"N \2", text)
    text = re.sub(r"\b\d+\.\d+\.\d+(\+\w+)?\b", "VERSION", text)
    text = re.sub(r"=+( [^=]+ )?=+", lambda match: f"={match[1] or ''}=", text)
    text = re.sub(r"no GPU: .*", "no GPU", text)
    text = re.sub(r"\n {8,}(?=\S)", " ", text)  # lines are wrapped elsewhere when a version has another length
    # Logits differ in their last digits from processor to processor.
    text = re.sub(r"^because .*", lambda line: re.sub(r"\d+\.\d+", "D", line[0]), text, flags=re.M)
    # F-SERVE-007 is skipped on machines on which a long generation is too short for it, and passes on others.
    text = re.sub(r"\n +\[\d+\] a long generation takes .*", "", text)
    text = re.sub(
        r"^cpu engine .*", lambda row: re.sub(r" \d+ pass( \+1 skip \[\d+\])?", " CELL", row[0]), text, flags=re.M
    )
    text = re.sub(r"(\d+) passed, (\d+) skipped", lambda match: f"{int(match[1]) + int(match[2])} ended", text)
    text = re.sub(r"\[\d+\]", "[N]", text)
    # Empty lines come and go with the progress lines that were printed before them.
    return "\n".join(line.rstrip() for line in text.strip().splitlines() if line.strip())


def in_page(name: str, page: Path) -> tuple[str, str, str]:
    """(before, text block, after) of the capture NAME in a Markdown page; the block may be absent still."""
    text = page.read_text(encoding="utf-8")
    marker = f"<!-- capture: {name} -->\n"
    if marker not in text:
        sys.exit(f"{page}: no line {marker.strip()}")
    before, after = text.split(marker)
    found = re.match(r"\n```text\n(.*?)\n```\n", after, re.DOTALL)
    return before + marker, found[1] if found else "", after[found.end() :] if found else after


def write(name: str, page: Path, coloured: str) -> None:
    """Write a capture into its page, or the demo's text and picture."""
    plain = "\n".join(line.rstrip() for line in COLOUR.sub("", coloured).splitlines())
    if page.suffix == ".md":
        before, _, after = in_page(name, page)
        page.write_text(f"{before}\n```text\n{plain}\n```\n{after}", encoding="utf-8")
    else:
        page.write_text(plain + "\n", encoding="utf-8")
        draw(coloured, page.with_suffix(".svg"))
    print(f"wrote {name} into {page.relative_to(REPOSITORY)}")


def draw(coloured: str, path: Path) -> None:
    """The picture of a terminal with this text."""
    import io

    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, legacy_windows=False)
    console.print(Text.from_ansi(coloured), soft_wrap=True)
    svg = console.export_svg(title="pytest-aprqa", unique_id="demo")
    # The fonts are named, not fetched: a picture in the documentation loads nothing from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    path.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8")


def shown(name: str, page: Path) -> str:
    """What the documentation shows now."""
    if page.suffix == ".md":
        return in_page(name, page)[1]
    return page.read_text(encoding="utf-8") if page.is_file() else ""


def main() -> int:
    """Capture all, or the ones named; with `--check` compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"captures, of {', '.join(CAPTURES)} (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a text differs")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CAPTURES):
        parser.error(f"no capture {', '.join(sorted(unknown))}")
    failures = 0
    with tempfile.TemporaryDirectory(prefix="capture-") as folder:
        place = Workplace(Path(folder).resolve())
        for name in arguments.names or CAPTURES:
            capture, page = CAPTURES[name]
            coloured = capture(place)
            if not arguments.check:
                write(name, page, coloured)
                continue
            old, new = normalised(shown(name, page)), normalised(coloured)
            if old != new:
                failures += 1
                lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "documentation", "run", lineterm="")
                print(f"{name}:", *lines, sep="\n")
            else:
                print(f"{name}: the documentation shows what the command prints")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
