"""Tensors that a check could not look at: a type without decoder or without a limit proves nothing, good or bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_aprqa.evidence.collection_record import NOT_TRIED
from pytest_aprqa.formats.errors import UndecodableType
from pytest_aprqa.numerics.limits import LimitError

if TYPE_CHECKING:
    from pytest_aprqa.model_under_test import ModelUnderTest


def why_untried(error: BaseException) -> str | None:
    """`cannot decode IQ3_S` for the errors that say nothing about the file, None for all others."""
    if isinstance(error, UndecodableType):
        return error.problem
    if not isinstance(error, LimitError):
        return None
    from pytest_aprqa.formats.codecs import DECODABLE

    known = error.dtype in DECODABLE
    return f"no limit is known for the error of {error.dtype}" if known else f"cannot decode {error.dtype}"


def skip_without(what: str, model: ModelUnderTest) -> NoReturn:
    """Skip for lack of WHAT is compared; of a file that is checked against a source, nothing is said then."""
    pytest.skip(what if model.settings.against is None else f"{NOT_TRIED}{what}")


def skip_without_reference(model: ModelUnderTest) -> None:
    """Skip where the engine of the reference does not run the family of the ground truth: a limit of ours."""
    from pytest_aprqa.models.families import FAMILIES

    architecture = model.opened_source().config.architecture
    if architecture not in FAMILIES:
        skip_without(f"the reference engine does not run the architecture {architecture!r}", model)


def skip_untried(untried: Mapping[str, str]) -> NoReturn:
    """Skip the check that could not look at some of its tensors; `untried`: name -> `why_untried`."""
    counts = Counter(untried.values())
    first = next(iter(untried))
    told = ", ".join(f"{why} ({count} tensors)" if count > 1 else f"{why} (1 tensor)" for why, count in counts.items())
    pytest.skip(f"{NOT_TRIED}{told}, the first is {first}")
