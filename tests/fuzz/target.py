"""What is fuzzed: a reader, its sound files, how they are damaged; and what every refusal must look like."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import mutations

FROM_THE_CORPUS = 0.1  # part of the inputs made from files that are refused already
SPLICED = 0.05  # part of the inputs that begin like one sound file and end like another

Seeds = dict[str, tuple[bytes, mutations.Mutation]]


@dataclass(frozen=True)
class Target:
    """`seeds`: name -> sound file and its mutation. `file`: name of the damaged file in the folder of `prepare`.

    `read` is what a user's command calls. `parser`, where there is one, reads the damaged document without the sound
    files around it or the report after it, which take most of the time of `read`: one input in `whole_every` is read by
    `read`. `refuses` False: an optional file, left out where it cannot be used.
    """

    file: str
    seeds: Callable[[], Seeds]
    read: Callable[[Path], None]
    prepare: Callable[[Path], object] = lambda folder: None
    parser: Callable[[Path], None] | None = None
    whole_every: int = 10
    refuses: bool = True

    def reader_of(self, number: int) -> Callable[[Path], None]:
        """What reads input `number`."""
        return self.parser if self.parser is not None and number % self.whole_every else self.read


def mutant(seeds: Seeds, number: int, run: int, kept: Sequence[bytes] = ()) -> bytes:
    """The damaged file `number` of run `run`: always the same bytes. `kept`: the corpus, files that are refused."""
    draw = random.Random(run << 40 | number)
    if kept and draw.random() < FROM_THE_CORPUS:
        return mutations.damaged_bytes(draw.choice(kept), draw)
    names = sorted(seeds)
    data, mutate = seeds[draw.choice(names)]
    if draw.random() < SPLICED:
        return mutations.spliced(data, seeds[draw.choice(names)][0], draw)
    return mutate(data, draw)


def check_line(error: Exception) -> None:
    """A refusal is one printable line that names the file or the field."""
    line = str(error)
    assert line.strip(), f"{type(error).__name__} says nothing"
    assert len(line.splitlines()) == 1, f"more than one line: {line!r}"
    assert len(line) < 4000, f"a line of {len(line)} characters"
