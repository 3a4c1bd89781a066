"""The key of a server that somebody else runs: from the environment, into a header, never into a text of ours."""

from __future__ import annotations

import os

KEY_VARIABLE = "APRQA_ENGINE_KEY"


def key_headers() -> dict[str, str]:
    """The authorisation header, empty without a key."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}


def without_key(text: str) -> str:
    """The text with the key blacked out: a server may repeat it in an error."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return text.replace(key, "[key]") if key else text
