"""Two answers to one prompt, in two modalities of one engine: what they disagree about, as far as the engine tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engines.protocol import GenerationResult

SHOWN_IDS = 8
SHOWN_TEXT = 60


def disagreement(first: GenerationResult, second: GenerationResult, names: tuple[str, str]) -> str | None:
    """The first difference, or None: prompt ids (else their number), new ids, text. Ids not told are not compared."""
    if first.prompt_ids is not None and second.prompt_ids is not None:
        if first.prompt_ids != second.prompt_ids:
            return f"prompt ids: {id_difference(first.prompt_ids, second.prompt_ids, names)}"
    elif None not in (first.prompt_length, second.prompt_length) and first.prompt_length != second.prompt_length:
        return (
            f"prompt ids: {first.prompt_length} in {names[0]}, {second.prompt_length} in {names[1]}; the engine"
            " does not tell which"
        )
    if first.new_ids is not None and second.new_ids is not None and first.new_ids != second.new_ids:
        return f"new ids: {id_difference(first.new_ids, second.new_ids, names)}"
    if first.text != second.text:
        return f"text: {_shown(first.text)} in {names[0]}, {_shown(second.text)} in {names[1]}"
    return None


def id_difference(first: Sequence[int], second: Sequence[int], names: tuple[str, str]) -> str:
    """Names the extra or missing ids where one sequence holds the other, else the first place that differs."""
    for longer, shorter, where in ((first, second, names), (second, first, names[::-1])):
        extra = _extra(list(longer), list(shorter))
        if extra is not None:
            at, ids = extra
            return f"{where[0]} has {_listed(ids)} more than {where[1]} at {at}"
    at = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
    return (
        f"{len(first)} in {names[0]}, {len(second)} in {names[1]}, first different at {at}:"
        f" {_listed(first[at:])} and {_listed(second[at:])}"
    )


def _extra(longer: list[int], shorter: list[int]) -> tuple[int, list[int]] | None:
    """(place, ids) that must be taken out of one piece of `longer` to get `shorter`."""
    surplus = len(longer) - len(shorter)
    if surplus <= 0:
        return None
    at = next((i for i, (a, b) in enumerate(zip(longer, shorter, strict=False)) if a != b), len(shorter))
    return (at, longer[at : at + surplus]) if longer[at + surplus :] == shorter[at:] else None


def _listed(ids: Sequence[int]) -> str:
    text = " ".join(map(str, ids[:SHOWN_IDS]))
    return f"[{text}{' ...' if len(ids) > SHOWN_IDS else ''}]"


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_TEXT else text[:SHOWN_TEXT] + "...")
