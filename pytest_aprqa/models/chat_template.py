"""Renders a chat template as transformers does, in a sandbox; endless templates end with their engine's time limit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_aprqa.models.errors import ModelError

LONGEST_TEMPLATE = 256 * 1024  # characters
LONGEST_OUTPUT = 4 << 20  # characters of a rendered conversation


@lru_cache(maxsize=16)
def _compiled(template: str) -> Any:
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def raise_exception(message: str) -> None:
        from jinja2.exceptions import TemplateError

        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols], autoescape=False, optimized=False
    )
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template)


def render_chat(
    template: str,
    messages: Sequence[dict[str, str]],
    *,
    bos_token: str | None = None,
    eos_token: str | None = None,
    add_generation_prompt: bool = True,
    path: Path | str = "chat template",
) -> str:
    """The conversation as one text, rendered exactly once. ModelError: template refuses, is wrong or too long.

    The sandbox keeps a template from attributes and imports; loops and memory are bounded by the process that renders:
    call this in an engine's child process.
    """
    from jinja2.exceptions import TemplateError

    if len(template) > LONGEST_TEMPLATE:
        raise ModelError(path, "chat_template", "is too long", found=len(template), limit=LONGEST_TEMPLATE)
    try:
        pieces, size = [], 0
        for piece in _compiled(template).generate(
            messages=list(messages),
            add_generation_prompt=add_generation_prompt,
            bos_token=bos_token or "",
            eos_token=eos_token or "",
        ):
            size += len(piece)
            if size > LONGEST_OUTPUT:
                raise ModelError(
                    path, "chat_template", "renders too much text", found=f"> {size}", limit=LONGEST_OUTPUT
                )
            pieces.append(piece)
    except (
        TemplateError,
        ArithmeticError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            path, "chat_template", f"cannot be rendered: {type(error).__name__}: {error}", advice="mend the template"
        ) from None
    return "".join(pieces)
