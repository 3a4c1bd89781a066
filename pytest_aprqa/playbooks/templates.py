"""Filling in a template: the placeholders `${MODEL_ID}`, `${HF_REPO}` and `${MODEL_NAME}` of a playbook text."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_aprqa.playbooks.document import MAX_BYTES
from pytest_aprqa.playbooks.errors import PlaybookError

_PLACEHOLDER = re.compile(r"\$\{(\w*)\}")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]+/(?!\.+$)[A-Za-z0-9._-]+")


def short_name(hf_repo: str) -> str:
    """The short lower-case name of a repository: its last part without `-instruct` and `-it`.

    `Qwen/Qwen2.5-Coder-1.5B-Instruct` gives `qwen2.5-coder-1.5b`.
    """
    return hf_repo.rsplit("/", 1)[-1].lower().replace("-instruct", "").replace("-it", "")


def fill_template(template: Path, hf_repo: str) -> str:
    """The text of TEMPLATE with every placeholder filled in for HF_REPO (`ORG/NAME`). Raises PlaybookError."""
    if not _REPOSITORY.fullmatch(hf_repo):
        raise PlaybookError(template, "cannot be filled in", found=f"'{hf_repo}'", advice="give a repository, ORG/NAME")
    try:
        with template.open(encoding="utf-8") as stream:
            text = stream.read(MAX_BYTES)
    except (OSError, ValueError) as error:
        raise PlaybookError(template, f"cannot be read: {error}", advice="check the path") from None
    values = {"MODEL_ID": hf_repo, "HF_REPO": hf_repo, "MODEL_NAME": short_name(hf_repo)}
    for placeholder in _PLACEHOLDER.finditer(text):
        if placeholder[1] not in values:
            raise PlaybookError(
                template,
                "unknown placeholder",
                line=text.count("\n", 0, placeholder.start()) + 1,
                column=placeholder.start() - text.rfind("\n", 0, placeholder.start()),
                found=placeholder[0],
                advice=f"known: {', '.join(values)}",
            )
    return _PLACEHOLDER.sub(lambda placeholder: values[placeholder[1]], text)
