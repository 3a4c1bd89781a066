"""Write docs/reference/real-files.md from real-files.json, and measure the JSON anew with the released `apr` program.

`--check`: fail when the page is not what the JSON gives. `--measure`: ask the program (APR_BINARY, PATH, ~/.cargo/bin).
`--recorded FOLDER`: with `--measure`, also the files in FOLDER/files, made from the models in FOLDER/models.
`--engines`: only run the bundled model on the three engines anew (an environment with llama-cpp-python; minutes).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DATA, PAGE = HERE / "reference" / "real-files.json", HERE / "reference" / "real-files.md"
sys.path.insert(0, str(HERE.parent))

INTRODUCTION = """# Defects of a real tool, found in real files

<!-- Made by docs/generate_real_files.py from real-files.json. Do not edit. -->

The release {release} of the `apr` program converts, validates and runs models. This page shows, file by file, what it
wrote, what our checks say about the file (`aprqa check FILE --against FOLDER --depth tokens`, for the random Llama
`--depth text`), and what the program itself says about it. All of it was measured; `tox -e apr` measures it again and
fails when a row has changed.

To make the page again: `python docs/generate_real_files.py --measure`. The files of the last section were made with the
same release on another day and are kept outside the repository; `--recorded FOLDER` names them.

What the program can do with files that *we* write is in `tests/real_apr/test_program_runs_ours.py`: it validates and
lists all of them (F32, F16, BF16, native q8 and q4, Q4_K, Q6_K) and generates the ids that transformers gives from the
same values (for Q4_K up to near ties: there it rounds activations to 8 bits). Where it cannot, the limits are its own:
it has no pre-tokenizer (a line break before indentation, a double
space or a digit group gets other ids), adds no token at the beginning of a prompt although the file declares it, and
wraps every prompt in the chat template of a file that has one. Our GGUF files it runs too
(`test_program_runs_our_gguf.py`: F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K), there with the pre-tokenizer of Qwen2 and the
token at the beginning; the pre-tokenizer of GPT-2 it does not obey. What we read of its files is in
`test_program_writes.py`: all of them, but for one whose tensors overlap.
"""
SECTIONS = {
    "tiny-qwen2": "## What it writes from the bundled Qwen2 (`models/tiny-qwen2`)",
    "wide-llama": "## What it writes from a random Llama",
    "damaged": "## What it says about damaged files\n\n"
    "One sound file of a random Llama, damaged in one place each; checksums are made right again where they can be.",
    "behaviours": "## Answers that cannot be believed",
    "mini-llama": "## Recorded files: a random Llama",
    "mini-qwen2": "## Recorded files: a random Qwen2",
}
ENGINES = """## The bundled model on three engines

One command asks torch, llama.cpp and the `apr` program the same prompts over the same files, names what they disagree
about, then certifies the model on each of them. An engine that cannot run a format skips its items, and is not
certified for them. It was measured while other programs ran on the machine: `F-PERF-001` says nothing here.

```text
aprqa engines models/tiny-qwen2 --certify tiny-qwen2-mvp --apr-binary apr
```
"""
KNOWN = """## The known defects of the release, line by line

One command runs every tool of the program on files that it made, compares each file with its source, and holds what the
program says against both. It ends with the defects that the release is known to have; a line is red when every one of
its signs was found on these files. Here, of the recorded files (`files/`) and the models they were made of (`models/`):

```text
aprqa tools files/* models/* --against models --no-gpu --apr-binary apr
```
"""
SOURCES = re.compile(r"/\S*/registry/src/[^/\s]+/?")  # where the program was built, in the words of a panic
LONGEST = 170
MANY = 4


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--recorded", type=Path)
    parser.add_argument("--engines", action="store_true")
    options = parser.parse_args()
    if options.engines:
        told = json.loads(DATA.read_text(encoding="utf-8")) | {"engines": measure_engines()}
        DATA.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.measure:
        old = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
        DATA.write_text(
            json.dumps(measure(old, options.recorded), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    page = render(json.loads(DATA.read_text(encoding="utf-8")))
    if options.check:
        if PAGE.read_text(encoding="utf-8") != page:
            print(f"{PAGE}: not what {DATA.name} gives; run python docs/generate_real_files.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page, encoding="utf-8")
    return 0


def measure(old: dict[str, Any], recorded: Path | None) -> dict[str, Any]:
    """The whole JSON; recorded sections are kept from OLD when no folder is given."""
    from tests.real_apr.measurement import measure_all, measure_recorded
    from tests.real_apr.real_program import Apr, find_apr

    path = find_apr()
    if path is None:
        raise SystemExit("no `apr` program: name it in APR_BINARY")
    with tempfile.TemporaryDirectory(prefix="aprqa-real-files-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        apr = Apr(path, home)
        data: dict[str, Any] = {"release": apr.version(), **measure_all(apr, Path(folder))}
        kept = {name: old[name] for name in ("mini-llama", "mini-qwen2", "known", "engines") if name in old}
        return data | kept | (measure_recorded(apr, recorded) if recorded else {})


def measure_engines() -> list[str]:
    """What one command prints of the bundled model on torch, llama.cpp and the `apr` program."""
    from tests.real_apr.real_program import find_apr

    program = find_apr()
    if program is None:
        raise SystemExit("no `apr` program: name it in APR_BINARY")
    with tempfile.TemporaryDirectory(prefix="aprqa-engines-") as folder:
        command = ["engines", "models/tiny-qwen2", "--certify", "tiny-qwen2-mvp", "--timeout", "600", "-o", folder]
        done = subprocess.run(
            [sys.executable, "-m", "pytest_aprqa.cli.main", *command, "--apr-binary", str(program)],
            cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    return [SOURCES.sub("", line) for line in done.stdout.splitlines()]


def render(data: dict[str, Any]) -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION.format(release=data["release"])]
    for name, title in SECTIONS.items():
        if name not in data:
            continue
        parts.append(title + "\n")
        parts.append(_behaviours(data[name]) if name == "behaviours" else _table(data[name]))
    if "engines" in data:
        shown = "\n".join(_cut(line) for line in data["engines"])
        parts.append(ENGINES + "\n```text\n" + shown + "\n```\n")
    if "known" in data:
        parts.append(KNOWN + "\n```text\n" + "\n".join(data["known"]) + "\n```\n")
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["| File | Made by | What ours says | What the program says |", "|---|---|---|---|"]
    for row in rows:
        findings = [f"**{f['gate']}** {_cell(_said(f, row['file']))}" for f in row["ours"][:MANY]]
        if len(row["ours"]) > MANY:
            findings.append(f"and {len(row['ours']) - MANY} more causes")
        ours = "<br>".join(findings) or row["verdict"]
        program = "<br>".join(f"`{command}`: {_cell(words)}" for command, words in row["program"].items())
        lines.append(f"| `{row['file']}` | {_cell(row['made_by'])} | {ours} | {program} |")
    return "\n".join(lines) + "\n"


def _behaviours(rows: list[dict[str, str]]) -> str:
    lines = ["| Command | What it does | Measured | What ours does instead |", "|---|---|---|---|"]
    for row in rows:
        cells = (f"`apr {row['command']}`", row["what"], row["measured"], row["ours"])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _said(finding: dict[str, str], file: str) -> str:
    """Cause and message of a finding, without what the row says already."""
    message = finding["message"].removeprefix(f"{file}: ")
    return message if finding["cause"] in message else f"{finding['cause']}: {message}"


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def _cell(text: str) -> str:
    shown = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown.replace("|", "\\|").replace("<", "&lt;"))


if __name__ == "__main__":
    raise SystemExit(main())
