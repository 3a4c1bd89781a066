"""The conversions that a playbook's formats make possible: edges, round trips, two ways to one format, stored types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONVERSION_ARGUMENT = "conversion"
LETTERS = {"gguf": "G", "apr": "A", "safetensors": "S"}
# Order of gates.md section 7.
_EDGES = ("G-A", "A-G", "G-S", "S-G", "A-S", "S-A")
# name -> (path that is judged, path whose end it must equal); a path of one format is the artifact itself.
_PATHS = {
    "RT-001": ("G-A-S-G", "G"),
    "RT-002": ("S-A-G-S", "S"),
    "RT-003": ("S-A-G-A-S", "S"),
    "RT-004": ("S-A-G-A", "S"),
    "RT-005": ("S-G-S", "S"),
    "RT-006": ("S-A-S", "S"),
    "RT-BYTE-001": ("S-A-G-A", "S-A"),
    "COM-001": ("G-S-A", "G-A"),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """`path` is walked from its first format on and its end compared with the end of `like`; `dtype`: last step."""

    name: str
    path: tuple[str, ...]
    like: tuple[str, ...]
    dtype: str = "native"

    @property
    def gate(self) -> str:
        """The part of the gate id after F-CONV-."""
        return self.name.partition(":")[0]


def conversions_for(formats: Sequence[str]) -> list[Conversion]:
    """Every conversion whose formats are all among `formats`, in the order of the specification; then stored types."""
    from pytest_aprqa.formats.apr_layout import LABELS
    from pytest_aprqa.formats.codecs import ENCODABLE
    from pytest_aprqa.lifecycle.tensor_types import DTYPES

    found = [Conversion(edge, _formats(edge), _formats(edge[0])) for edge in _EDGES]
    found += [Conversion(name, _formats(path), _formats(like)) for name, (path, like) in _PATHS.items()]
    for target, dtypes in DTYPES.items():
        path, like = ("safetensors", target), ("safetensors",)
        stored = [d for d in dtypes if LABELS.get(d.upper(), d.upper()) in ENCODABLE]
        found += [Conversion(f"S-{LETTERS[target]}:{d}", path, like, d) for d in stored]
    return [one for one in found if set(one.path) | set(one.like) <= set(formats)]


def _formats(letters: str) -> tuple[str, ...]:
    names = {letter: name for name, letter in LETTERS.items()}
    return tuple(names[letter] for letter in letters.split("-"))
