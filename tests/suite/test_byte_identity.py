"""F-CONV-IDEM-001 is judged by the bytes of both files as they lie, not by what was noted of them before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import describe_artifact
from pytest_aprqa.suite.test_conversion import test_conversion_is_reproducible as check


class Observed:
    def __init__(self):
        self.passed, self.findings = [], []

    def __call__(self, name, value, *, limit, passed):
        self.passed.append(passed)

    def finding(self, *facts):
        self.findings.append(facts)


@pytest.mark.parametrize("changed", [False, True])
def test_one_changed_byte_is_seen_whatever_the_digest_says(changed, random_qwen2_folder, tmp_path, tmp_path_factory):
    mine = derive(random_qwen2_folder, "gguf", cache=tmp_path)
    source = describe_artifact(random_qwen2_folder, "safetensors")
    if changed:
        with mine.path.open("r+b") as stream:
            stream.seek(-1, 2)
            last = stream.read(1)[0]
            stream.seek(-1, 2)
            stream.write(bytes([last ^ 1]))
    model = SimpleNamespace(artifact=lambda name: mine, source=lambda: source)
    opened, observed = SimpleNamespace(file=SimpleNamespace(format="gguf")), Observed()
    if changed:
        with pytest.raises(AssertionError, match=r"first, .* again"):
            check(opened, model, tmp_path_factory, observed)
    else:
        check(opened, model, tmp_path_factory, observed)
    assert (observed.passed, len(observed.findings)) == ([not changed], int(changed))
