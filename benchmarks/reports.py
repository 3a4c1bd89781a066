"""Score and all reports of 100,000 entries: processor time, peak memory, and the ratio to json.loads of the log.

Limits: 20 s, 1 GiB, 30 times json.loads. Every file is then made a second time and must be the same, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import measuring

from pytest_aprqa.evidence.outcome import Outcome
from pytest_aprqa.evidence.record import Evidence, canonical_json

ENTRIES = 100_000
LIMIT_S, LIMIT_BYTES, LIMIT_RATIO = 20.0, 1 << 30, 30.0
OUTCOMES = [*[Outcome.CORROBORATED] * 17, Outcome.FALSIFIED, Outcome.SKIPPED, Outcome.CRASHED]
LOADS = "import json, sys\nfor line in open(sys.argv[1], 'rb'):\n    json.loads(line)\n"


def entry(number: int) -> Evidence:
    """One answer of a cell with two observed values; every twentieth entry failed, crashed or was skipped."""
    outcome = OUTCOMES[number % len(OUTCOMES)]
    ran = outcome in (Outcome.CORROBORATED, Outcome.FALSIFIED)
    cell = f"gguf-cpu-chat-p{number:05d}"
    return Evidence(
        id=f"00000000-0000-4000-8000-{number:012d}",
        timestamp="2026-01-01T00:00:00+00:00",
        outcome=outcome,
        gate_id=f"F-QUAL-{number % 40:03d}",
        reason="Test passed" if outcome is Outcome.CORROBORATED else f"seen in entry {number}",
        output=f"The answer is {number}. " + "word " * 20 if ran else "",
        stderr="Segmentation fault" if outcome is Outcome.CRASHED else None,
        exit_code=-11 if outcome is Outcome.CRASHED else 0,
        scenario={
            "id": cell, "model": {"org": "example", "name": "Tiny-1B"}, "modality": "chat", "backend": "cpu",
            "format": "gguf", "prompt": f"What is {number}+{number}?", "seed": 1, "temperature": 0.0, "max_tokens": 32,
        },
        metrics={"duration_ms": 1500, "tokens_per_second": 20.0 + number % 7, "time_to_first_token_ms": 30.0},
        metadata={"order": str(number)},
        playbook="tiny-mvp",
        node_id=f"tiny-mvp.playbook.yaml::test_{number % 40}[{cell}]",
        check=f"test_{number % 40}",
        title="The output is text.",
        severity="P1",
        observed=[
            {"name": "kld", "value": 1e-4, "limit": 1e-2, "unit": "nats", "passed": True},
            {"name": "tokens", "value": number, "limit": ">= 1", "unit": "", "passed": True},
        ],
        advice="look at the entry in evidence.json",
    )  # fmt: skip


def measured(arguments: list[str]) -> tuple[float, int]:
    """(processor seconds, peak bytes so far of any child) of one child process; the benchmark ends when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"{arguments}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss * unit


def main() -> int:
    """Measure, print, write; exit 1 above a limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "evidence.jsonl"
        with log.open("w", encoding="ascii") as stream:
            stream.writelines(canonical_json(entry(number)) + "\n" for number in range(ENTRIES))
        loads, _ = measured(["-c", LOADS, str(log)])
        command = ["-m", "pytest_aprqa.cli.main", "report", str(log), "--quiet", "-o"]
        seconds, peak = measured([*command, str(folder / "1")])
        extra = sum(measured([*command, str(folder / "1"), "--formats", kind])[0] for kind in ("sarif", "csv"))
        for kind in ("all", "sarif", "csv"):
            measured([*command, str(folder / "2"), "--formats", kind])
        size, digests = log.stat().st_size, [_digests(folder / number) for number in ("1", "2")]
    ratio = seconds / loads
    measuring.show(
        f"Score and reports of {ENTRIES:,} entries ({size / 1e6:.0f} MB of evidence)",
        [
            ("json.loads of the log, processor time", f"{loads:.2f} s"),
            (f"read, score, five reports (limit {LIMIT_S:g} s)", f"{seconds:.2f} s"),
            (f"of json.loads (limit {LIMIT_RATIO:g})", f"{ratio:.1f} times"),
            (f"peak memory (limit {LIMIT_BYTES >> 20} MiB)", f"{peak >> 20} MiB"),
            ("read again, SARIF and CSV", f"{extra:.2f} s"),
            ("made twice", "same bytes" if digests[0] == digests[1] else "OTHER BYTES"),
        ],
    )
    measuring.write(
        "reports",
        entries=ENTRIES,
        evidence_bytes=size,
        json_loads_processor_s=round(loads, 3),
        score_and_reports_processor_s=round(seconds, 3),
        ratio_to_json_loads=round(ratio, 2),
        peak_bytes=peak,
        files=json.loads(json.dumps(digests[0])),
        limits={"seconds": LIMIT_S, "bytes": LIMIT_BYTES, "ratio": LIMIT_RATIO},
    )
    held = seconds <= LIMIT_S and peak <= LIMIT_BYTES and ratio <= LIMIT_RATIO and digests[0] == digests[1]
    return 0 if held else 1


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in sorted(folder.iterdir())}


if __name__ == "__main__":
    sys.exit(main())
