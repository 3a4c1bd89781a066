"""What the plugin adds to `pytest --help`. Limit: 60 ms."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measuring

LIMIT_MS = 60
REPEATS = 15


def main() -> int:
    """Measure, print, write; exit 1 above the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        series = measuring.in_turns(
            {
                "pytest alone": lambda: measuring.run(
                    ["-m", "pytest", "-p", "no:cacheprovider", "--help"], folder, **measuring.ALONE
                ),
                "with the plugin": lambda: measuring.run(
                    [*measuring.pytest_with_plugin(), "--help"], folder, **measuring.ALONE
                ),
            },
            REPEATS,
        )
    alone, plugin = series["pytest alone"], series["with the plugin"]
    added = (plugin.median - alone.median) * 1000
    measuring.show(
        f"pytest --help, median of {REPEATS}",
        [
            *((label, f"{s.median * 1000:.0f} ms") for label, s in series.items()),
            ("added", f"{added:.0f} ms"),
            ("limit", f"{LIMIT_MS} ms"),
            ("ratio", f"{plugin.median / alone.median:.3f}"),
        ],
    )
    measuring.write(
        "startup",
        added_ms=round(added, 1),
        limit_ms=LIMIT_MS,
        ratio=round(plugin.median / alone.median, 4),
        added_processor_ms=round((plugin.median_processor - alone.median_processor) * 1000, 1),
        series={label: s.as_json() for label, s in series.items()},
    )
    return 0 if added <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
