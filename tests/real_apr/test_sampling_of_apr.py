"""Temperature, top-p, seeds and log-probabilities of the released program, against known logits, by the suite's checks.

`run` draws by the logits and obeys the seed; its server takes one seed of its own for all requests of completions, of
which it forgets `logprobs` too; those of its chat are right.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.lifecycle.derive import derive
from pytest_aprqa.models.artifact import Artifact
from tests.real_apr.real_models import TINY_QWEN2, make_model
from tests.real_apr.real_program import Apr
from tests.run_of_one_file import entries_of_a_run, summary

LIMIT_S = 120
Found = dict[str, tuple[str, str, dict[str, Any]]]


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Artifact]:
    """The bundled model without its template, with which the release completes no raw text, in a format."""
    return lambda form: derive(make_model("tiny-qwen2", tmp_path), form, cache=tmp_path / "cache", dtype="f32")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, apr: Apr) -> Callable[..., Found]:
    """Run the checks that KEYWORD selects on a file: (outcome, reason, observed) by gate."""
    monkeypatch.setenv("HOME", str(apr.home))

    def run(file: Artifact, keyword: str, *options: str) -> Found:
        entries = entries_of_a_run(pytester, file.path, file.format, keyword, *options, modalities=("run", "serve"))
        return {gate: summary(entry) for gate, entry in entries.items()}

    return run


def test_run_draws_by_the_logits_and_a_seed_names_one_answer(
    run: Callable[..., Found], file: Callable[[str], Artifact], apr: Apr
) -> None:
    found = run(file("apr"), "draws or a_seed", "--engine=apr", f"--apr-binary={apr.path}")
    assert {gate: one[0] for gate, one in found.items()} == dict.fromkeys(
        ("F-SAMPLE-001", "F-STAB-002"), "Corroborated"
    ), found
    observed = found["F-SAMPLE-001"][2]
    assert (observed["logits_from"], observed["compared"], observed["draws"]) == ("torch", "ids", 300)


def test_its_server_has_one_seed_for_all_and_that_is_a_finding(
    run: Callable[..., Found], file: Callable[[str], Artifact], apr: Apr
) -> None:
    artifact = file("apr")
    with EngineHost("apr?" + urlencode({"binary": str(apr.path)}), threads=1) as host:
        host.load(artifact, LIMIT_S)
        found = run(artifact, "draws or a_seed or top_p", f"--engine-url={host.serve(LIMIT_S)}")
    assert {gate: one[0] for gate, one in found.items()} == dict.fromkeys(
        ("F-SAMPLE-001", "F-SAMPLE-002", "F-STAB-002"), "Falsified"
    ), found
    assert "was drawn 100.0% of 300 times" in found["F-SAMPLE-001"][1]
    assert "draws do not follow the logits" in found["F-SAMPLE-002"][1]
    assert "seeds give the same answer at temperature 2" in found["F-STAB-002"][1]


@pytest.mark.parametrize("form", ["apr", "gguf"])
def test_its_server_tells_logprobs_of_chat_and_forgets_those_of_completions(
    run: Callable[..., Found], tmp_path: Path, apr: Apr, form: str
) -> None:
    artifact = derive(TINY_QWEN2, form, cache=tmp_path / "cache", dtype="f32")
    with EngineHost("apr?" + urlencode({"binary": str(apr.path)}), threads=1) as host:
        host.load(artifact, LIMIT_S)
        found = run(artifact, "logprobs", f"--engine-url={host.serve(LIMIT_S)}")
    for gate in ("F-LOGPROB-001", "F-LOGPROB-003"):
        outcome, reason, _ = found[gate]
        assert (outcome, "logprobs is ignored: POST /v1/completions" in reason) == ("Falsified", True), reason
    outcome, reason, observed = found["F-LOGPROB-002"]
    assert outcome == "Corroborated", reason
    assert observed["logits_from"] == "torch"
    assert observed["rms_difference"] < 0.015
