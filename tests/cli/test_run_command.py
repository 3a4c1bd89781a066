import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_aprqa.cli import run
from pytest_aprqa.cli.main import call
from pytest_aprqa.cli.run import arguments_for_pytest
from pytest_aprqa.reporting.atomic_file import write_atomically


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


@pytest.mark.parametrize(
    ("pytest_code", "code"), [(0, 0), (1, 1), (2, 130), (3, 3), (4, 2), (5, 5), (-15, 143), (-9, 137)]
)
def test_exit_codes_of_pytest_become_those_of_the_command_and_128_plus_a_signal(pytest_code, code, monkeypatch):
    seen = []
    monkeypatch.setattr(run, "run_pytest", lambda arguments: seen.append(arguments) or pytest_code)
    assert call(["run", "tiny", "-k", "gguf", "--no-gpu"]) == code
    assert seen[0][-5:] == ["--playbook", "tiny", "-k", "gguf", "--no-gpu"]


def test_pytest_really_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert call(["run", "no-such-playbook"]) == 2
    shown = capfd.readouterr()
    assert "no-such-playbook" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\nversion: [1\n", r":3:1: "),
        (
            "name: x\nversion: 1.0.0\nmodel: {hf_repo: a/b, formats: [pdf]}\ntest_matrix: {}\n",
            r":3:33: model\.formats\[0\]: ",
        ),
    ],
)
def test_a_playbook_that_cannot_be_read_is_wrong_use_with_its_line_and_column(tmp_path, monkeypatch, capfd, text, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "x.playbook.yaml").write_text(text)
    assert call(["run", "x.playbook.yaml"]) == 2
    shown = capfd.readouterr()
    (line,) = [line for line in (shown.out + shown.err).splitlines() if line.startswith("ERROR: ")]
    assert re.match(r"ERROR: .*x\.playbook\.yaml" + said, line)


def test_a_file_that_pytest_cannot_collect_is_no_interrupt(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    (tmp_path / "test_own.py").write_text("import no_such_module\n")
    tiny = Path(__file__).parents[2] / "models" / "tiny-qwen2"
    arguments = ["--model-path", str(tiny), "test_own.py", "-k", "own", "-o", "out"]
    assert call(["run", "tiny-qwen2-smoke", *arguments]) == 1
    assert "[JIDOKA]" not in capfd.readouterr().err


def start(arguments, folder):
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    command = [sys.executable, "-m", "pytest_aprqa.cli.main", "run", *arguments]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_with_its_code(tmp_path, number, code, capfd):
    (tmp_path / "conftest.py").write_text(
        "import pathlib, time\n\ndef pytest_configure():\n    pathlib.Path('started').touch()\n    time.sleep(60)\n"
    )
    process = start(["tiny"], tmp_path)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    assert process.wait(timeout=30) == code
    told = f"[JIDOKA] {number.name} received. Reaping 1 child process(es)...\n[JIDOKA] Line stopped: "
    assert told in capfd.readouterr().err


@pytest.mark.parametrize("option", sorted(run._ELSEWHERE))
def test_options_of_the_earlier_tool_are_refused_with_the_place_of_today(option, capsys):
    assert call(["run", "tiny", f"{option}=x"]) == 2
    shown = capsys.readouterr().err
    assert f"{option} is of an earlier tool: " in shown
    assert shown.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "arguments", "file"),
    [
        (("-o", "a/out.json"), ("-o", "a/out"), "a/out.json"),
        (("--output=OUT.JSON",), ("--output=OUT",), "OUT.JSON"),
        (("-o", "folder"), ("-o", "folder"), None),
        (("-k", "x.json"), ("-k", "x.json"), None),
        (("--", "-o", "x.json"), ("--", "-o", "x.json"), None),
        (("-o",), ("-o",), None),
    ],
)
def test_output_that_ends_in_json_is_the_evidence_file(given, arguments, file):
    assert run.evidence_file_of(given) == (arguments, file and Path(file))


def test_a_run_says_folder_outcomes_and_score_as_json(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    tiny = Path(__file__).parents[2] / "models" / "tiny-qwen2"
    arguments = ["--model-path", str(tiny), "-k", "test_file_is_sound", "-o", "out.json"]
    code = call(["run", "tiny-qwen2-mvp", *arguments, "--json"])
    shown = capfd.readouterr()
    told = json.loads(shown.out)
    assert told["exit_code"] == code
    assert Path(told["folder"]) == tmp_path / "out"
    entries = json.loads((tmp_path / "out.json").read_text())
    assert sum(told["outcomes"].values()) == len(entries) > 0
    assert "evidence: " in shown.err


@pytest.mark.parametrize("wrote", [False, True])
def test_evidence_of_an_earlier_run_is_not_copied_as_that_of_this_one(tmp_path, monkeypatch, wrote):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    source = tmp_path / "out" / "evidence.json"
    source.write_text('["earlier"]')

    def pytest_runs(arguments):
        if wrote:
            write_atomically(source, '["of this run"]')
        return 4

    monkeypatch.setattr(run, "run_pytest", pytest_runs)
    assert call(["run", "no-such-playbook", "-o", "out.json"]) == 2
    copied = tmp_path / "out.json"
    assert (copied.read_text() if copied.exists() else None) == ('["of this run"]' if wrote else None)


def test_json_of_a_run_that_cannot_start_has_no_score(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    assert call(["run", "no-such-playbook", "--json"]) == 2
    assert json.loads(capfd.readouterr().out) == {"exit_code": 2, "folder": None, "outcomes": {}, "score": None}
