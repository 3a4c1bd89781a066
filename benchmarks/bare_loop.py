"""The demo playbook without pytest: engines, artifacts and batches of a run in a plain loop."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import measuring

from pytest_aprqa.engine_pool import LOAD_TIMEOUT_FACTOR, CellAnswers, LoadedEngine, request_of
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.engines.selection import engine_for
from pytest_aprqa.model_under_test import ModelUnderTest
from pytest_aprqa.playbooks.loading import load_playbook
from pytest_aprqa.playbooks.playbook import Playbook
from pytest_aprqa.playbooks.scenarios import Scenario, expand
from pytest_aprqa.run_settings import RunSettings
from pytest_aprqa.served_answers import ask_server

TIMEOUT_MS = 120_000


def model_of(playbook: Playbook) -> ModelUnderTest:
    """The model of a playbook with default settings."""
    settings = RunSettings(
        model_path=None,
        model_cache=None,
        against=None,
        apr_binary=None,
        no_gpu=True,
        tier=None,
        failure_policy="collect-all",
        timeout_ms=TIMEOUT_MS,
        sources={},
    )
    return ModelUnderTest(playbook, settings)


@contextmanager
def loaded_engine(model: ModelUnderTest, format_name: str) -> Iterator[LoadedEngine]:
    """A fresh child process with the artifact of a format, on the CPU with all cores."""
    host = EngineHost(engine_for(format_name, "cpu", apr_binary=None), threads=os.cpu_count() or 1)
    try:
        yield LoadedEngine(host, model, format_name, "cpu")
    finally:
        host.close()


def scenarios_on_cpu(playbook: Playbook, modalities: tuple[str, ...]) -> dict[tuple[str, str], list[Scenario]]:
    """Scenarios by (format, modality), in the order of the playbook."""
    cells: dict[tuple[str, str], list[Scenario]] = {}
    for scenario in expand(playbook):
        if scenario.backend == "cpu" and scenario.modality in modalities:
            cells.setdefault((scenario.format, scenario.modality), []).append(scenario)
    return cells


def run_playbook(playbook: Playbook, modalities: tuple[str, ...] = ("run", "chat", "serve")) -> int:
    """Load each format once and ask for each cell in one batch, as the plugin does. Returns the number of answers."""
    model = model_of(playbook)
    cells = scenarios_on_cpu(playbook, modalities)
    answered = 0
    for format_name in playbook.matrix.formats:
        with loaded_engine(model, format_name) as engine:
            for (cell_format, modality), scenarios in cells.items():
                if cell_format != format_name:
                    continue
                if modality == "serve":
                    answers = CellAnswers()
                    ask_server(engine, scenarios, answers)
                    answered += len(answers.results)
                else:
                    answered += len(engine.generate(requests(scenarios)))
    model.close()
    return answered


def requests(scenarios: list[Scenario]) -> list[GenerationRequest]:
    """Engine requests of scenarios."""
    return [request_of(scenario, scenario.modality) for scenario in scenarios]


def fresh_process(model: ModelUnderTest, scenario: Scenario) -> None:
    """One scenario in an engine process of its own: start, load, generate, end."""
    host = EngineHost(engine_for(scenario.format, "cpu", apr_binary=None), threads=os.cpu_count() or 1)
    try:
        host.start()
        seconds = TIMEOUT_MS / 1000
        host.load(model.artifact(scenario.format), timeout_s=seconds * LOAD_TIMEOUT_FACTOR)
        host.generate(requests([scenario]), timeout_s=seconds)
    finally:
        host.close()


def main() -> None:
    """Run a playbook and print the number of answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("playbook", type=Path, nargs="?", default=measuring.DEMO_PLAYBOOK)
    print(run_playbook(load_playbook(parser.parse_args().playbook)), "answers")


if __name__ == "__main__":
    main()
