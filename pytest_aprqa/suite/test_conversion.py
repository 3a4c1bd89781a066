"""Conversion as an operation: done twice it gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_aprqa.fixtures import Observe
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact


@pytest.mark.gate("F-CONV-IDEM-001", severity="P0")
def test_conversion_is_reproducible(
    artifact: OpenArtifact, model: ModelUnderTest, tmp_path_factory: pytest.TempPathFactory, observe: Observe
) -> None:
    """Deriving the artifact again, in an empty cache, gives a byte-identical file."""
    from pytest_aprqa.lifecycle.derive import derive

    mine = model.artifact(artifact.file.format)
    if mine.origin != "derived":
        pytest.skip(f"the {artifact.file.format} file is published, not derived by us")
    source = model.artifact("safetensors").path
    folder = source if source.is_dir() else source.parent
    again = derive(folder, artifact.file.format, cache=tmp_path_factory.mktemp("again"))
    observe("sha256", again.sha256, limit=mine.sha256, passed=again.sha256 == mine.sha256)
    assert again.sha256 == mine.sha256, f"sha256 {mine.sha256[:16]} first, {again.sha256[:16]} again"
