"""The time of a fuzzing run, shared by its jobs: what a quick reader leaves goes to those after it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """SECONDS for JOBS on WORKERS processes, each of which has a budget of its own and takes its share of the jobs."""

    def __init__(self, seconds: float, jobs: int, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers = max(1, workers)
        self._left = max(1, jobs)  # of all workers, as far as this one can tell
        self._until = clock() + seconds if seconds else None

    def next_job(self) -> float:
        """Seconds for the next job of this process; 0: as long as it takes. Never less than a second."""
        if self._until is None:
            return 0.0
        rounds = max(1, -(-self._left // self._workers))
        self._left -= self._workers
        return max(1.0, (self._until - self._clock()) / rounds)
