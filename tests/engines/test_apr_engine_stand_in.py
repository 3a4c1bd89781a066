"""The `apr` engine over a stand-in program: results, refusals, crashes, time-outs, servers; nothing is left running."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil
import pytest

from pytest_aprqa.engines.apr_arguments import can_be_typed, model_file
from pytest_aprqa.engines.apr_program import find_program, probe
from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineTimeout, EngineUnavailable
from pytest_aprqa.engines.host import EngineHost
from pytest_aprqa.engines.process import run_program
from pytest_aprqa.engines.protocol import GenerationRequest
from pytest_aprqa.models.artifact import Artifact

FAKE = Path(__file__).with_name("fake_apr.py")
GUILTY, GOOD = GenerationRequest("g", "guilty"), GenerationRequest("k", "good one", max_new_tokens=5)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "apr"
    path.write_text(f"#!{sys.executable}\n" + FAKE.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def loaded(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., EngineHost]]:
    hosts = []

    def load(mode: str = "", form: str = "new") -> EngineHost:
        monkeypatch.setenv("FAKE_APR", mode)
        monkeypatch.setenv("FAKE_APR_FORM", form)
        host = EngineHost("apr?" + urlencode({"binary": program, "backend": "cpu"}))
        hosts.append(host)
        host.load(Artifact("apr", tmp_path / "model.apr", "published", "0" * 64), timeout_s=20)
        return host

    yield load
    for host in hosts:
        host.close()


@pytest.mark.parametrize("form", ["new", "old"])
def test_results_come_in_order_with_ids_and_counts(loaded: Any, form: str) -> None:
    host = loaded(form=form)
    first, second = host.generate([GOOD, GenerationRequest("d", "--no-gpu", max_new_tokens=2)], 20)
    assert (first.text, first.new_ids, first.prompt_tokens, first.prompt_ids) == ("<good one>", [0, 1, 2], 2, None)
    assert first.prompt_length == 2
    assert first.finish_reason == "stop"
    assert (second.text, second.finish_reason) == ("<--no-gpu>", "length")  # a prompt is never taken for a flag
    description = host.describe()
    assert description.name == "apr"
    assert description.version == ("0.72.3" if form == "new" else "0.2.18")
    assert description.details["form"] == ("0.72.3" if form == "new" else "older")


def test_chat_types_one_line_and_gives_the_rest_to_run(loaded: Any) -> None:
    host = loaded()
    one, several = host.generate(
        [GenerationRequest("a", "hello", "chat"), GenerationRequest("b", "two\nlines", "chat")], 20
    )
    assert (one.text, one.new_ids) == ("<hello>\nand more", None)
    assert several.text == "<two\nlines>"
    assert can_be_typed("a / b")
    assert not any(map(can_be_typed, ["", " ", "a\nb", "a\n", "/quit", "a\u2028b"]))


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("exit8", "failed in inference .exit code 8.: it is exit 8"), ("exit2", "does not know these arguments"),
        ("silent", "no JSON"), ("noise", "no JSON"), ("no-text", "no text"), ("fell-back", "after it fell back"),
        ("ran-on-gpu", "ran on cuda"), ("refused", "exit code 0, but status 'refused': not today"),
        ("exit9", "built without this feature"),
    ],
)  # fmt: skip
def test_exit_status_0_or_not_a_bad_answer_is_an_error_of_its_prompt(loaded: Any, mode: str, words: str) -> None:
    good, bad = loaded(mode).generate([GOOD, GUILTY], 20)
    assert good.text == "<good one>"
    assert bad.error is not None
    import re

    assert re.search(words, bad.error), bad.error


@pytest.mark.parametrize(("mode", "signal_name", "code"), [("panic", None, 101), ("segfault", "SIGSEGV", -11)])
@pytest.mark.parametrize("how", ["raw", "chat"])
def test_panics_and_signals_are_crashes_and_the_engine_goes_on(
    loaded: Any, mode: str, signal_name: str | None, code: int, how: str
) -> None:
    host = loaded(mode)
    with pytest.raises(EngineCrashed) as caught:
        host.generate([GenerationRequest("g", "guilty", how)], 20)
    assert (caught.value.exit_code, caught.value.signal_name) == (code, signal_name)
    if mode == "panic":
        assert "division by zero" in caught.value.stderr_tail
    assert host.generate([GOOD], 20)[0].text == "<good one>"


def test_hang_is_a_timeout_and_leaves_no_process(loaded: Any, program: Path) -> None:
    host = loaded("hang")
    started = time.monotonic()
    with pytest.raises(EngineTimeout, match="1000 ms"):
        host.generate([GUILTY], 1.0)
    assert time.monotonic() - started < 5
    assert running(program) == []


@pytest.mark.parametrize("mode", ["exit3", "exit6"])
def test_load_errors(program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    text = program.read_text(encoding="utf-8").replace('prompt == "guilty"', "True")
    program.write_text(text, encoding="utf-8")
    monkeypatch.setenv("FAKE_APR", mode)
    with (
        EngineHost("apr?" + urlencode({"binary": program})) as host,
        pytest.raises(EngineLoadError, match=f"exit {mode[4:]}"),
    ):
        host.load(Artifact("apr", tmp_path / "model.apr", "published", "0" * 64), timeout_s=20)


def test_gpu_of_a_build_without_cuda_is_unavailable(program: Path, tmp_path: Path) -> None:
    with (
        EngineHost("apr?" + urlencode({"binary": program, "backend": "gpu"})) as host,
        pytest.raises(EngineUnavailable, match="built without CUDA"),
    ):
        host.load(Artifact("apr", tmp_path / "model.apr", "published", "0" * 64), timeout_s=20)


def test_what_the_program_cannot_be_given_is_refused(loaded: Any) -> None:
    host = loaded()
    zero, long, none, talk = host.generate(
        [
            GenerationRequest("z", "a\0b"),
            GenerationRequest("l", "x" * 200_000),
            GenerationRequest("n", "x", max_new_tokens=0),
            GenerationRequest("t", "", "chat", messages=[{"role": "system", "content": "x"}]),
        ],
        20,
    )
    assert "zero byte" in str(zero.error)
    assert "longer than" in str(long.error)
    assert "max_new_tokens" in str(none.error)
    assert "one user message" in str(talk.error)
    with pytest.raises(EngineUnavailable, match="logits"):
        host.logits([1], 5)


@pytest.mark.parametrize("form", ["new", "old"])
def test_server_has_a_folder_of_its_own_and_leaves_nothing(loaded: Any, program: Path, form: str) -> None:
    host = loaded(form=form)
    url = host.serve(20)
    assert host.serve(20) == url
    body = {"prompt": "x", "max_tokens": 1}
    assert httpx.post(f"{url}/v1/completions", json=body).json()["choices"][0]["text"] == "<x>"
    (server,) = running(program)
    folder = Path(psutil.Process(server).environ()["TMPDIR"])
    assert (folder / "copy").exists()
    assert host.death() is None
    with pytest.raises(httpx.HTTPError):
        httpx.post(f"{url}/v1/completions", json={"prompt": "guilty"})
    crash = host.death()
    assert isinstance(crash, EngineCrashed)
    assert crash.signal_name == "SIGABRT"
    assert host.serve(20) != url  # started again
    host.close()
    assert running(program) == []
    assert not folder.exists()
    assert not folder.parent.exists()  # of the engine


def test_server_that_does_not_start_says_why(loaded: Any) -> None:
    with pytest.raises(EngineError, match=r"exit code 8.: Inference failed: address in use"):
        loaded("port-taken").serve(20)


def test_programs_that_are_not_apr(tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineUnavailable, match="no such program; give the path of an `apr` program"):
        find_program(tmp_path / "nothing")
    plain = tmp_path / "plain"
    plain.write_text("x", encoding="utf-8")
    with pytest.raises(EngineUnavailable, match="not an executable file"):
        find_program(plain)
    probe.cache_clear()
    monkeypatch.setenv("FAKE_APR", "other-program")
    with pytest.raises(EngineUnavailable, match="not an apr version"):
        probe(program)
    plain.write_text("#!/no/such/interpreter\n", encoding="utf-8")
    plain.chmod(0o755)
    with pytest.raises(EngineUnavailable, match="cannot be started"):
        probe(plain)


def test_probe_knows_commands_and_flags(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for form, served in (("new", "serve run"), ("old", "serve")):
        probe.cache_clear()
        monkeypatch.setenv("FAKE_APR_FORM", form)
        found = probe(program)
        assert found.takes("run", "--seed")
        assert not found.takes("run", "--nothing")
        assert found.takes(served, "--port")
    probe.cache_clear()


def test_folders_become_files_with_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "m"
    folder.mkdir()
    assert model_file(Path("m/../m")) == folder
    (folder / "model.safetensors").touch()
    assert model_file(Path("m")) == folder / "model.safetensors"
    (folder / "model.safetensors.index.json").touch()
    assert model_file(folder) == folder / "model.safetensors.index.json"


def test_program_output_is_bounded_and_a_silent_heir_is_not_waited_for() -> None:
    script = "import os, sys; sys.stdout.write('x' * (40 << 20)); sys.stdout.flush(); os.fork() or os._exit(0)"
    code = script.replace("os.fork() or os._exit(0)", "os.fork() and os._exit(0); import time; time.sleep(40)")
    started = time.monotonic()
    done = run_program([sys.executable, "-c", code])
    assert time.monotonic() - started < 39
    assert done.status == 0
    assert len(done.stdout) <= (16 << 20) + (1 << 16)


def test_program_that_does_not_read_and_one_that_is_given_up() -> None:
    done = run_program([shutil.which("true") or "true"], stdin="x" * (1 << 20))
    assert done.status == 0

    def give_up() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_program([sys.executable, "-c", "import time; time.sleep(60)"], on_wait=give_up)
    with pytest.raises(TimeoutError):
        run_program([sys.executable, "-c", "import time; time.sleep(60)"], limit_s=0.3)


def running(program: Path) -> list[int]:
    """Processes of this very copy of the program."""
    time.sleep(0.05)
    found = []
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            gone = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if str(program) in command[:2] and not gone and process.pid != os.getpid():
            found.append(process.pid)
    return found
