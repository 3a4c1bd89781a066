"""What two answers are compared by: their ids, or their text where an engine tells no ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engines.protocol import GenerationResult


def said(result: GenerationResult) -> list[int] | str:
    """The new ids, else the text. EngineError: the engine refused to answer."""
    from pytest_aprqa.engines.errors import EngineError

    if result.error:
        raise EngineError(result.error)
    return result.new_ids if result.new_ids is not None else result.text
