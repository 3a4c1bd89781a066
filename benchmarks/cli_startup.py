"""What `aprqa --help` takes over an interpreter that does nothing. Limit: 150 ms."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measuring

LIMIT_MS = 150
REPEATS = 15
BARE, HELP, COMMAND = "python -c pass", "aprqa --help", "aprqa certify --help"


def main() -> int:
    """Measure, print, write; exit 1 above the limit."""
    program = ["-m", "pytest_aprqa.cli.main"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = measuring.in_turns(
            {
                BARE: lambda: measuring.run(["-c", "pass"], folder),
                HELP: lambda: measuring.run([*program, "--help"], folder),
                COMMAND: lambda: measuring.run([*program, "certify", "--help"], folder),
            },
            REPEATS,
        )
    bare = series[BARE].median
    added = {label: (series[label].median - bare) * 1000 for label in (HELP, COMMAND)}
    measuring.show(
        f"start of the command line, median of {REPEATS}",
        [
            *((label, f"{s.median * 1000:.0f} ms") for label, s in series.items()),
            *((f"{label} over bare Python", f"{milliseconds:.0f} ms") for label, milliseconds in added.items()),
            ("limit", f"{LIMIT_MS} ms"),
            ("ratio of --help to bare Python", f"{series[HELP].median / bare:.2f}"),
        ],
    )
    measuring.write(
        "cli_startup",
        added_ms=round(added[HELP], 1),
        command_added_ms=round(added[COMMAND], 1),
        limit_ms=LIMIT_MS,
        ratio=round(series[HELP].median / bare, 4),
        added_processor_ms=round((series[HELP].median_processor - series[BARE].median_processor) * 1000, 1),
        series={label: s.as_json() for label, s in series.items()},
    )
    return 0 if added[HELP] <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
