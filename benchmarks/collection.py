"""How long collection takes and how it grows. Limits: 1.5 s for 1,800 items, linear; 10 s for all 117 playbooks.

The 117 are measured in processor time, so that another load of the machine does not count.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import measuring

LIMIT_S = 1.5
LIMIT_ITEMS = 1800
REPEATS = 5
ALL_LIMIT_S = 10.0  # processor time, start of the interpreter included
ALL_REPEATS = 3
# Growth per item from the smaller to the larger matrix; 1 is exactly linear, 2 is quadratic for a doubling.
LINEAR_LIMIT = 1.25

PLAYBOOK = """\
name: collection-{prompts}
version: 1.0.0
model:
  hf_repo: aprqa/tiny-qwen2
  local_path: {model}
  formats: [safetensors, apr, gguf]
  size_category: tiny
test_matrix:
  modalities: [run, chat, serve]
  backends: [cpu, gpu]
  scenario_count: {prompts}
  prompts: [{list}]
"""


def write_playbook(folder: Path, prompts: int) -> Path:
    """A playbook of 3 formats x 2 backends x 3 modalities x `prompts` prompts."""
    path = folder / f"collection-{prompts}.playbook.yaml"
    text = ", ".join(f'"What is {number}+{number}?"' for number in range(prompts))
    model = measuring.REPOSITORY / "models" / "tiny-qwen2"
    path.write_text(PLAYBOOK.format(prompts=prompts, model=model, list=text), encoding="utf-8")
    return path


def collect(folder: Path, *arguments: str) -> tuple[int, float]:
    """(items, seconds) of one collection, by pytest's own closing line: interpreter start is not in it."""
    output = measuring.run(
        [*measuring.pytest_with_plugin(), "--collect-only", "-q", *arguments], folder, **measuring.ALONE
    ).stdout
    found = re.search(r"^(\d+)(?:/\d+)? tests? collected.* in ([\d.]+)s", output, re.MULTILINE)
    if found is None:
        sys.exit(f"no closing line in:\n{output[-2000:]}")
    return int(found[1]), float(found[2])


def collect_all() -> tuple[int, measuring.Series]:
    """(items, times) of the collection of every playbook of playbooks.csv in one process."""
    from pytest_aprqa.playbooks.facts import read_playbook_facts

    folder = measuring.REPOSITORY / "playbooks"
    rows = read_playbook_facts(folder / "facts" / "playbooks.csv")
    named = [str(folder / "models" / row.file) for row in rows]
    counts: list[int] = []
    series = measuring.Series()
    for _ in range(ALL_REPEATS):
        measuring.timed(lambda: counts.append(collect(measuring.REPOSITORY, *named)[0]), series)
    return counts[-1], series


def main() -> int:
    """Measure, print, write; exit 1 above a limit."""
    sizes: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One item a scenario: 3 x 2 x 3 x 100 = 1,800 and twice as many.
        playbooks = [write_playbook(folder, prompts) for prompts in (100, 200)]
        for _ in range(REPEATS):
            for playbook in playbooks:
                items, seconds = collect(folder, f"--playbook={playbook}", "-k", "test_answer_is_accepted")
                sizes.setdefault(items, []).append(seconds)
        whole = [collect(folder, f"--playbook={playbooks[0]}") for _ in range(REPEATS)]
    all_items, all_series = collect_all()
    medians = {items: sorted(times)[len(times) // 2] for items, times in sizes.items()}
    (small, small_s), (large, large_s) = sorted(medians.items())
    growth = (large_s / large) / (small_s / small)
    whole_items, whole_s = whole[0][0], sorted(t for _, t in whole)[len(whole) // 2]
    measuring.show(
        f"collection, median of {REPEATS}",
        [
            *((f"{items} items", f"{seconds:.2f} s") for items, seconds in sorted(medians.items())),
            ("growth per item (1 = linear)", f"{growth:.2f}"),
            (f"all checks of the 1,800 scenarios, {whole_items} items", f"{whole_s:.2f} s"),
            (f"limit for {LIMIT_ITEMS} items", f"{LIMIT_S} s"),
            (f"all playbooks, {all_items} items, processor time", f"{all_series.median_processor:.2f} s"),
            ("limit for all playbooks, processor time", f"{ALL_LIMIT_S} s"),
        ],
    )
    measuring.write(
        "collection",
        median_s={str(items): seconds for items, seconds in sorted(medians.items())},
        limit_s=LIMIT_S,
        limit_items=LIMIT_ITEMS,
        growth_per_item=round(growth, 3),
        all_checks={"items": whole_items, "median_s": whole_s},
        all_playbooks={"items": all_items, "limit_processor_s": ALL_LIMIT_S, **all_series.as_json()},
        all_s={str(items): times for items, times in sorted(sizes.items())},
    )
    within = small_s <= LIMIT_S * small / LIMIT_ITEMS and all_series.median_processor <= ALL_LIMIT_S
    return 0 if within and growth <= LINEAR_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
