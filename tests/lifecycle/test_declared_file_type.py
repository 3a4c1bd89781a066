"""A derived GGUF declares the type that was asked for, also where short rows made most matrices fall back."""

import pytest

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import open_artifact


@pytest.mark.parametrize(("dtype", "declared"), [("q8_0", 7), ("f16", 1), (None, 32)])
def test_the_type_asked_for_is_declared(random_qwen2_folder, tmp_path, dtype, declared):
    path = derive(random_qwen2_folder, "gguf", cache=tmp_path, dtype=dtype).path
    with open_artifact(path) as artifact:
        assert artifact.file.metadata["general.file_type"] == declared
