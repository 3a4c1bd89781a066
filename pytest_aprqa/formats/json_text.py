"""JSON as formats use it: a reader that refuses duplicate keys, NaN and deep nesting, for bytes from hostile files."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from typing import Any, Final, NoReturn

from pytest_aprqa.formats.errors import FormatError

MAX_DEPTH: Final = 64


def parse_json_object(
    path: str | os.PathLike[str], where: str, text: bytes, *, duplicates: list[str] | None = None
) -> dict[str, Any]:
    """UTF-8 TEXT -> the object it holds. FormatError: bad UTF-8 or JSON, no object at the top, NaN, depth > 64.

    A duplicate key is an error too, unless DUPLICATES is given: then the last value wins and the key is added there.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            twice, _ = Counter(key for key, _ in items).most_common(1)[0]
            if duplicates is None:
                raise FormatError(path, where, "duplicate JSON key", found=twice, advice="write the file again")
            duplicates.append(twice)
        return found

    def constant(name: str) -> NoReturn:
        raise FormatError(path, where, "JSON has a number that is not finite", found=name)

    def finite(digits: str) -> float:
        value = float(digits)
        return value if math.isfinite(value) else constant(digits)

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant, parse_float=finite)
    except UnicodeDecodeError as problem:
        raise FormatError(path, f"{where} + {problem.start}", "is not valid UTF-8") from None
    except json.JSONDecodeError as problem:
        raise FormatError(path, f"{where} + {problem.pos}", f"is not valid JSON: {problem.msg}") from None
    except RecursionError:
        raise FormatError(path, where, "JSON is nested too deeply", limit=f"{MAX_DEPTH} levels") from None
    except FormatError:
        raise
    except ValueError as problem:  # an integer of more digits than Python converts
        raise FormatError(path, where, f"JSON value refused: {problem}") from None
    if not isinstance(value, dict):
        raise FormatError(path, where, "JSON is not an object at the top", found=type(value).__name__)
    _check_depth(path, where, value)
    return value


def _check_depth(path: str | os.PathLike[str], where: str, value: dict[str, Any]) -> None:
    """Refuse nesting beyond MAX_DEPTH, without recursion."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for container in level:
            children = container.values() if isinstance(container, dict) else container
            inner.extend(child for child in children if isinstance(child, (dict, list)))
        if not inner:
            return
        level = inner
    raise FormatError(path, where, "JSON is nested too deeply", limit=f"{MAX_DEPTH} levels")
