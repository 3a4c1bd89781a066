"""The process that renders chat templates: a sandbox with bounded memory and time, fed with JSON lines.

Started by path and importing nothing of ours: a template that explodes or loops ends here, not in an engine.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import os
import resource
import sys
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment


class GenerationBlock(Extension):
    """`{% generation %}` marks what a model writes (for training); its text is rendered as it stands."""

    tags = {"generation"}  # noqa: RUF012 - the attribute that jinja2 asks for

    def parse(self, parser: Parser) -> nodes.Node:
        """The block's body in a scope of its own, as a macro call would give it."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class TooLong(Exception):
    """The rendered text is longer than allowed."""


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _now(pattern: str) -> str:
    return datetime.datetime.now().strftime(pattern)


@lru_cache(maxsize=4)
def _compiled(template: str) -> jinja2.Template:
    # The settings, filters and globals that transformers gives to every chat template.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols], autoescape=False
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _now
    return environment.from_string(template)


def render(template: str, variables: dict[str, Any], longest: int) -> str:
    """The rendered text; TooLong beyond `longest` characters, or whatever the template raises."""
    pieces, size = [], 0
    for piece in _compiled(template).generate(**variables):
        size += len(piece)
        if size > longest:
            raise TooLong(size)
        pieces.append(piece)
    return "".join(pieces)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"text": render(request["template"], request["variables"], request["longest"])}
    except MemoryError:
        _compiled.cache_clear()
        return {"limit": "memory"}
    except TooLong as error:
        return {"limit": "output", "found": error.args[0]}
    except jinja2.TemplateSyntaxError as error:
        return {"error": f"line {error.lineno}: {error.message}"}
    except Exception as error:  # whatever a template makes Python raise is one message
        return {"error": f"{type(error).__name__}: {error}"[:1000]}


def _bound_time(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard < 0 else min(limit, hard), hard))


def main(memory: int) -> None:
    """Serve one request a line until standard input ends. `memory`: bytes of address space."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if hard < 0 else min(memory, hard)
    with contextlib.suppress(ValueError, OSError):  # some systems do not know the limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _bound_time(request["seconds"])
        data = json.dumps(_answer(request)).encode() + b"\n"
        while data:
            data = data[answers.write(data) :]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(int(sys.argv[1]))
