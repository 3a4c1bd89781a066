"""Fixtures of the checks; the public interface for users' own checks. All are cheap: the heavy parts are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_aprqa.collection import PlaybookFile
from pytest_aprqa.evidence.collection_record import NOT_TRIED
from pytest_aprqa.run_state import RUN_STATE, RunState
from pytest_aprqa.target import Cell, Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_aprqa.engine_pool import CellAnswers, LoadedEngine
    from pytest_aprqa.engines.protocol import GenerationResult
    from pytest_aprqa.formats.tensor_file import TensorFile
    from pytest_aprqa.model_under_test import ModelUnderTest
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.playbooks.playbook import Playbook
    from pytest_aprqa.playbooks.scenarios import Scenario


FINDINGS_KEPT = 20  # findings of one check that its evidence keeps


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    """What this item looks at: format, backend, modality, scenario (None where the check does not distinguish)."""
    return getattr(request, "param", None) or Target()


@pytest.fixture
def run_state(request: pytest.FixtureRequest) -> RunState:
    """The state of this run in this process: settings, models, engines."""
    return request.config.stash[RUN_STATE]


@pytest.fixture
def playbook(request: pytest.FixtureRequest) -> Playbook:
    """The playbook of this item."""
    file = request.node.getparent(PlaybookFile)
    if file is None:
        raise pytest.UsageError(f"{request.node.nodeid}: the fixture `playbook` works only in checks of a playbook")
    return file.playbook  # type: ignore[no-any-return]


@pytest.fixture
def model(playbook: Playbook, run_state: RunState) -> ModelUnderTest:
    """The model under test: location, artifact of each format, opened by its own declaration."""
    return run_state.model_for(playbook)


@pytest.fixture
def artifact(request: pytest.FixtureRequest, model: ModelUnderTest, target: Target, observe: Observe) -> OpenArtifact:
    """The opened artifact of this item's format: `.config`, `.tokenizer`, `.tensors`, `.file`, from its own bytes."""
    from pytest_aprqa.model_under_test import FormatNotAvailable

    assert target.format is not None
    try:
        observe.artifact(model.artifact(target.format))
        return model.opened(target.format)
    except FormatNotAvailable as error:
        pytest.skip(str(error))
    except (OSError, ValueError, RuntimeError) as error:
        if request.node.get_closest_marker("opens_artifact"):
            raise
        # That failure is the evidence of the G0 item; everything behind it was not run, so it is not proven.
        pytest.skip(f"blocked: the {target.format} artifact does not open: {error}")


@pytest.fixture
def lenient_file(model: ModelUnderTest, target: Target, observe: Observe) -> Iterator[TensorFile]:
    """The file of this item's format, opened as far as it can be read; `.warnings` says what strict readers refuse."""
    from pytest_aprqa.formats.opening import open_tensor_file
    from pytest_aprqa.model_under_test import FormatNotAvailable

    assert target.format is not None
    try:
        described = model.artifact(target.format)
        file = open_tensor_file(described.path, strict=False)
    except FormatNotAvailable as error:
        pytest.skip(str(error))
    except (OSError, ValueError, RuntimeError) as error:
        pytest.skip(f"blocked: the {target.format} artifact does not open at all: {error}")
    observe.artifact(described)
    with file:
        yield file


@pytest.fixture
def declared_artifact(artifact: OpenArtifact) -> OpenArtifact:
    """The opened artifact, where its configuration can be read; otherwise blocked, G0-INTEGRITY-CONFIG says why."""
    try:
        _ = (artifact.config, artifact.tensors)
    except ValueError as error:
        pytest.skip(f"blocked: the configuration cannot be read, see G0-INTEGRITY-CONFIG: {error}")
    return artifact


@pytest.fixture
def reference(model: ModelUnderTest) -> OpenArtifact:
    """The SafeTensors artifact that is the ground truth: of `--against`, else of the model itself."""
    from pytest_aprqa.model_under_test import FormatNotAvailable

    try:
        source = model.opened_source()
        _ = (source.config, source.tensors)
    except (FormatNotAvailable, OSError, ValueError) as error:
        pytest.skip(f"blocked: no ground truth to compare with: {error}")
    return source


@pytest.fixture
def engine(
    request: pytest.FixtureRequest, model: ModelUnderTest, target: Target, run_state: RunState, observe: Observe
) -> LoadedEngine:
    """The loaded engine of this item's (format, backend); shared by all items of the group."""
    from pytest_aprqa.engines.errors import EngineUnavailable
    from pytest_aprqa.model_under_test import FormatNotAvailable

    assert target.format is not None
    assert target.backend is not None
    try:
        loaded = run_state.pool.engine(model, target.format, target.backend)
    except (EngineUnavailable, FormatNotAvailable) as error:
        pytest.skip(str(error))
    except (OSError, ValueError, RuntimeError) as error:
        if _is_of_an_unknown_family(model, target.format, error):
            pytest.skip(f"no engine here runs this family: {error}")
        if _has_a_type_without_decoder(model, target.format, error):
            pytest.skip(f"{NOT_TRIED}the engine has no decoder: {error}")
        if request.node.get_closest_marker("loads_engine"):
            raise
        # The failure itself is the evidence of the G1 item; everything behind it was not run, so it is not proven.
        pytest.skip(f"blocked: {target.format} on {target.backend} did not load: {error}")
    observe.artifact(model.artifact(target.format))
    observe.engine(loaded.description)
    return loaded


def _is_of_an_unknown_family(model: ModelUnderTest, format_name: str, error: Exception) -> bool:
    """True when the engine does not know the family of the ground truth of `--against` either: no finding."""
    if model.settings.against is None or "is not known" not in str(error):
        return False
    try:
        return model.opened(format_name).config.architecture == model.opened_source().config.architecture
    except (OSError, ValueError, RuntimeError):
        return False


def _has_a_type_without_decoder(model: ModelUnderTest, format_name: str, error: Exception) -> bool:
    """True when a comparison with `--against` ends at a tensor type that neither we nor the engine decode."""
    from pytest_aprqa.formats.codecs import DECODABLE

    if model.settings.against is None or "cannot decode" not in str(error):
        return False
    try:
        entries = model.opened(format_name).file.entries.values()
    except (OSError, ValueError, RuntimeError):
        return False
    return any(entry.dtype not in DECODABLE for entry in entries)


@pytest.fixture
def cell(target: Target) -> Cell:
    """The cell of the matrix: format, backend, modality."""
    assert target.cell is not None
    return target.cell


@pytest.fixture
def scenario(target: Target) -> Scenario:
    """The scenario: prompt, seed, token limit, and the cell it belongs to."""
    assert target.scenario is not None
    return target.scenario


@pytest.fixture
def answers(request: pytest.FixtureRequest, engine: LoadedEngine, target: Target, run_state: RunState) -> CellAnswers:
    """What all selected scenarios of this cell produced (asked for in one batch)."""
    cell = target.cell
    assert cell is not None
    file = request.node.getparent(PlaybookFile)
    assert file is not None
    return run_state.pool.answers(engine.model, cell, run_state.selected_scenarios(file, cell))


@pytest.fixture
def answer(answers: CellAnswers, scenario: Scenario, observe: Observe) -> GenerationResult:
    """What this scenario produced. Without text the item is blocked: G2-BASIC or G3-STABLE of the cell says why."""
    if scenario.key in answers.failures:
        error = answers.failures[scenario.key]
        gate = "G3-STABLE" if error in answers.deaths else "G2-BASIC"
        pytest.skip(f"blocked: no answer, see {gate} of {scenario.key.rsplit('-', 1)[0]}: {error}")
    result = answers.results[scenario.key]
    if not result.text.strip():
        pytest.skip(f"blocked: the answer is empty, see G2-BASIC of {scenario.key.rsplit('-', 1)[0]}")
    observe.answer(result)
    return result


@pytest.fixture
def server_url(engine: LoadedEngine) -> str:
    """Base URL of the OpenAI-compatible server over this item's engine, on 127.0.0.1."""
    return engine.server_url()


class Observe:
    """Attach measured values to the evidence: `observe("nmse", 1e-5, limit=2e-4)`."""

    def __init__(self) -> None:
        self.values: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self._findings = 0

    def __call__(self, name: str, value: Any, *, limit: Any = None, unit: str = "", passed: bool | None = None) -> None:
        """Record one value with its limit and unit; `passed` None means that no verdict hangs on it."""
        self.values.append({"name": name, "value": value, "limit": limit, "unit": unit, "passed": passed})

    def finding(self, where: str, found: Any, limit: Any, cause: str) -> None:
        """Name one place (tensor, layer, token, field) that refutes the claim: what is there, the limit, the cause.

        The first FINDINGS_KEPT are kept; the message of the check says how many there are in all.
        """
        self._findings += 1
        if self._findings <= FINDINGS_KEPT:
            self.values.append(
                {"name": where, "value": found, "limit": limit, "unit": "", "passed": False, "cause": cause}
            )

    def advise(self, text: str) -> None:
        """Say what the reader should do when this check fails."""
        self.facts["advice"] = text

    def artifact(self, artifact: Any) -> None:
        """Name the file that the evidence is about."""
        self.facts["artifact"] = artifact.to_json()

    def engine(self, description: Any) -> None:
        """Name the engine that really ran."""
        import dataclasses

        fields = dataclasses.asdict(description)
        # How many threads a worker got is a fact of this run's machine, not of the engine.
        self.facts["threads"] = fields.pop("threads")
        self.facts["engine"] = fields

    def answer(self, result: GenerationResult) -> None:
        """Keep the output, ids and times of a generation."""
        self.facts["result"] = result


@pytest.fixture
def observe(request: pytest.FixtureRequest) -> Observe:
    """Attach measured values, limits and advice to the evidence of this item."""
    observed: Observe = request.node.stash.setdefault(OBSERVED, Observe())
    return observed


OBSERVED: pytest.StashKey[Observe] = pytest.StashKey()

__all__: list[str] = [
    "Observe",
    "answer",
    "answers",
    "artifact",
    "cell",
    "declared_artifact",
    "engine",
    "lenient_file",
    "model",
    "observe",
    "playbook",
    "reference",
    "run_state",
    "scenario",
    "server_url",
    "target",
]
