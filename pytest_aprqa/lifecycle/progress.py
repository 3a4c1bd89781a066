"""How far a conversion is: one call per tensor, in source bytes, so that a user sees a large model move."""

from __future__ import annotations

from collections.abc import Callable

# (what is being done, bytes of source tensors before it, bytes in all)
Progress = Callable[[str, int, int], None]


class TensorProgress:
    """Counts source bytes and reports each tensor as it starts."""

    def __init__(self, report: Progress | None, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0

    def step(self, name: str, nbytes: int) -> None:
        """Report that tensor `name` of `nbytes` source bytes starts now."""
        if self._report is not None:
            self._report(name, self._done, self._total)
        self._done += nbytes
