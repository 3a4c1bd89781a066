"""The bundled model as a file that llama.cpp reads."""

from __future__ import annotations

from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parents[2] / "models" / "tiny-qwen2"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    """Its float32 GGUF form."""
    from pytest_aprqa.lifecycle.derive import derive

    return derive(MODEL, "gguf", cache=tmp_path / "cache", dtype="f32").path
