"""What pytest and the plugin add to inference: the demo playbook against a bare loop. Limit: 5 %.

Both load each format once and ask for the same batches on the same engine. The plugin run has the items that look at
answers; checks that do more (reading all tensors, the reference) are work of their own, and shown beside it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import measuring

LIMIT = 1.05
REPEATS = 5
SAME_WORK = (
    "test_model_loads or test_basic_inference_answers or test_engine_survives or test_output_is_not_garbage"
    " or test_answer_is_accepted"
)


def main() -> int:
    """Measure, print, write; exit 1 above the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = [*measuring.pytest_with_plugin(), "-q", f"--playbook={measuring.DEMO_PLAYBOOK}", "--no-gpu"]
        series = measuring.in_turns(
            {
                "bare loop": lambda: measuring.run([str(measuring.REPOSITORY / "benchmarks" / "bare_loop.py")], folder),
                "plugin, same work": lambda: measuring.run([*plugin, "-k", SAME_WORK], folder, **measuring.ALONE),
            },
            REPEATS,
        )
        whole = measuring.Series()
        measuring.timed(lambda: measuring.run(plugin, folder, **measuring.ALONE), whole)
    ratio = series["plugin, same work"].median / series["bare loop"].median
    rounds = zip(series["plugin, same work"].wall, series["bare loop"].wall, strict=True)
    ratios = sorted(plugin_s / bare_s for plugin_s, bare_s in rounds)
    measuring.show(
        f"demo playbook, median of {REPEATS}",
        [
            *((label, f"{s.median:.2f} s") for label, s in series.items()),
            ("ratio of the medians", f"{ratio:.3f}"),
            ("median of the ratios", f"{ratios[len(ratios) // 2]:.3f}"),
            ("limit", f"{LIMIT}"),
            ("plugin, all checks", f"{whole.median:.2f} s"),
        ],
    )
    measuring.write(
        "overhead",
        ratio_of_medians=round(ratio, 4),
        ratios=[round(r, 4) for r in ratios],
        limit=LIMIT,
        series={label: s.as_json() for label, s in series.items()},
        all_checks_s=round(whole.median, 2),
    )
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
