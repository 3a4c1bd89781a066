"""Argument vectors of the `apr` program, for release 0.72.3 and for the older form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.engines.apr_program import AprProgram
    from pytest_aprqa.engines.protocol import GenerationRequest

WEIGHTS = ("model.safetensors.index.json", "model.safetensors")


def model_file(path: Path) -> Path:
    """What the program is given for an artifact: an absolute path, and of a folder the file in it.

    The program refuses paths with `..` for SafeTensors as "path traversal".
    """
    path = path.resolve()
    if path.is_dir():
        return next((path / name for name in WEIGHTS if (path / name).is_file()), path)
    return path


def run_arguments(program: AprProgram, model: Path, request: GenerationRequest, backend: str) -> list[str]:
    """`apr run`: JSON with the text. A chat request goes through the model's template by `--chat`."""
    argv = [str(program.path), "run", str(model), _prompt(program, request.prompt)]
    argv += ["--max-tokens", str(request.max_new_tokens), *_device(program, "run", backend), "--json"]
    if request.mode == "chat" and program.takes("run", "--chat"):
        argv.append("--chat")
    return argv + _sampling(program, "run", request)


def chat_arguments(program: AprProgram, model: Path, request: GenerationRequest, backend: str) -> list[str]:
    """`apr chat`: the prompt comes on standard input, one line."""
    argv = [str(program.path), "chat", str(model), *_device(program, "chat", backend), "--json"]
    if program.new or program.takes("chat", "--max-tokens"):
        argv += ["--max-tokens", str(request.max_new_tokens)]
    return argv + _sampling(program, "chat", request)


def serve_arguments(program: AprProgram, model: Path, port: int, backend: str) -> list[str]:
    """`apr serve run` of 0.72.3, `apr serve` of the older form. The port is on the loopback interface."""
    command = "serve run" if program.new or "serve run" in program.flags else "serve"
    argv = [str(program.path), *command.split(), str(model), "--port", str(port)]
    return argv + _device(program, command, backend)


def can_be_typed(prompt: str) -> bool:
    """Whether a prompt is one line for `apr chat`: not blank, no line break, no command of the chat."""
    return bool(prompt.strip()) and not prompt.startswith("/") and prompt.splitlines() == [prompt]


def _prompt(program: AprProgram, prompt: str) -> str:
    # In one word, so that a prompt that begins with a dash is not taken for a flag.
    return f"--prompt={prompt}" if program.takes("run", "--prompt") else f"-p={prompt}"


def _device(program: AprProgram, command: str, backend: str) -> list[str]:
    if backend == "cpu":
        return ["--no-gpu"]
    return ["--gpu"] if program.takes(command, "--gpu") else []


def _sampling(program: AprProgram, command: str, request: GenerationRequest) -> list[str]:
    """Temperature and seed; above 0 also that no token is left out: else `run` keeps 40, `chat` a share of 0.9."""
    # Release 0.72.3 does not list the flags of `chat` with those of the other commands.
    known = program.new and command == "chat"
    argv = []
    if known or program.takes(command, "--temperature"):
        argv += ["--temperature", f"{request.temperature:g}"]
    if request.temperature > 0 and program.takes(command, "--top-k"):
        argv += ["--top-k", "0"]
    if request.temperature > 0 and command == "chat" and (known or program.takes(command, "--top-p")):
        argv += ["--top-p", "1"]
    if program.takes(command, "--seed"):
        argv += ["--seed", str(request.seed)]
    return argv
