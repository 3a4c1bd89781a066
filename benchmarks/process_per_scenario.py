"""One fresh engine process for each scenario against one loaded engine and batches. Limit: at least 10 times faster.

Ours is the bare loop over all `run` and `chat` scenarios of the demo playbook; the fresh processes are measured on a
subset of the same scenarios, because all of them would take many minutes. The ratio is per scenario.
"""

from __future__ import annotations

import sys
import time

import bare_loop
import measuring

from pytest_aprqa.playbooks.loading import load_playbook

LIMIT = 10.0
MODALITIES = ("run", "chat")
PER_CELL = 2
REPEATS = 3


def main() -> int:
    """Measure, print, write; exit 1 below the limit."""
    playbook = load_playbook(measuring.DEMO_PLAYBOOK)
    model = bare_loop.model_of(playbook)
    cells = bare_loop.scenarios_on_cpu(playbook, MODALITIES)
    subset = [scenario for scenarios in cells.values() for scenario in scenarios[:PER_CELL]]
    for format_name in playbook.matrix.formats:
        model.artifact(format_name)  # derive missing formats before the clock runs
    fresh: list[float] = []
    ours: list[float] = []
    share = max(1, len(subset) // REPEATS)
    for number in range(REPEATS):
        started = time.perf_counter()
        answers = bare_loop.run_playbook(playbook, MODALITIES)
        ours.append((time.perf_counter() - started) / answers)
        for scenario in subset[number * share : (number + 1) * share]:
            started = time.perf_counter()
            bare_loop.fresh_process(model, scenario)
            fresh.append(time.perf_counter() - started)
    fresh_s, ours_s = sorted(fresh)[len(fresh) // 2], sorted(ours)[len(ours) // 2]
    measuring.show(
        "seconds per scenario, medians",
        [
            (f"fresh process each ({len(fresh)} scenarios)", f"{fresh_s:.3f} s"),
            (f"ours ({answers} scenarios, {REPEATS} times)", f"{ours_s:.3f} s"),
            ("times faster", f"{fresh_s / ours_s:.1f}"),
            ("limit", f"{LIMIT:.0f}"),
        ],
    )
    measuring.write(
        "process_per_scenario",
        times_faster=round(fresh_s / ours_s, 2),
        limit=LIMIT,
        fresh_s=[round(t, 3) for t in fresh],
        ours_per_scenario_s=[round(t, 4) for t in ours],
        scenarios=answers,
    )
    return 0 if fresh_s / ours_s >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
