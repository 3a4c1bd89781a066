"""Where the bundled playbooks and model lie: inside the installed package, or in the root of a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def bundled_folder() -> Path:
    """The folder that holds `playbooks/` and `models/tiny-qwen2/`."""
    packaged = PACKAGE / "_bundled"
    return packaged if packaged.is_dir() else PACKAGE.parent
