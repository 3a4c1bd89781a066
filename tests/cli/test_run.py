import pytest

from pytest_aprqa.cli import run
from pytest_aprqa.cli.main import call
from pytest_aprqa.cli.run import arguments_for_pytest


@pytest.fixture
def announced(monkeypatch):
    monkeypatch.setattr(run, "_is_announced", lambda: True)


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    ("given", "passed_on"),
    [
        ((), []),
        (("-n", "4", "-k", "gguf"), ["-n", "4", "-k", "gguf"]),
        (("-o", "out"), ["--evidence-dir", "out"]),
        (("--output=out",), ["--evidence-dir", "out"]),
        (("--timeout", "1000", "--workers=2"), ["--scenario-timeout", "1000", "-n", "2"]),
        (("--fail-fast",), ["--failure-policy", "fail-fast"]),
        (("--dry-run",), ["--collect-only", "-q"]),
        (("--", "--timeout", "60"), ["--timeout", "60"]),
    ],
)
def test_arguments_are_passed_on(given, passed_on):
    assert arguments_for_pytest("tiny", given) == ["--playbook", "tiny", *passed_on]


@pytest.mark.parametrize(("announced", "prefix"), [(True, []), (False, ["-p", "pytest_aprqa.plugin"])])
def test_the_plugin_is_named_only_where_no_distribution_announces_it(announced, prefix, monkeypatch):
    monkeypatch.setattr(run, "_is_announced", lambda: announced)
    assert arguments_for_pytest("tiny", ()) == [*prefix, "--playbook", "tiny"]


@pytest.mark.parametrize(("pytest_code", "code"), [(0, 0), (1, 1), (2, 130), (3, 3), (4, 4), (5, 5)])
def test_the_exit_code_is_pytests_but_130_for_an_interrupt(pytest_code, code, monkeypatch):
    seen = []
    monkeypatch.setattr(pytest, "main", lambda arguments: seen.append(arguments) or pytest_code)
    assert call(["run", "tiny", "-k", "gguf", "--no-gpu"]) == code
    assert seen[0][-5:] == ["--playbook", "tiny", "-k", "gguf", "--no-gpu"]
