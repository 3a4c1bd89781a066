"""The `apr` program as an engine: one process per prompt for run and chat, its own server; nothing is believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_aprqa.engines.apr_arguments import can_be_typed, chat_arguments, model_file, run_arguments
from pytest_aprqa.engines.apr_exit_codes import problem_of
from pytest_aprqa.engines.apr_output import Backend, parse_chat, parse_run, parse_text_run
from pytest_aprqa.engines.apr_program import AprProgram, find_program, probe
from pytest_aprqa.engines.apr_server import AprServer
from pytest_aprqa.engines.errors import EngineCrashed, EngineError, EngineLoadError, EngineUnavailable
from pytest_aprqa.engines.process import Finished, run_program
from pytest_aprqa.engines.protocol import EngineDescription, GenerationRequest, GenerationResult, Progress, TokenSink

if TYPE_CHECKING:
    from pytest_aprqa.models.artifact import Artifact

LONGEST_ARGUMENT = 131_000  # bytes; the kernel takes 131072 with the flag in front
LOAD_PROMPT = "Hello"
NO_TOKENIZER = "tokenizer"


class AprEngine:
    """Runs an artifact with `binary` on `backend`. Prompt ids are not told by the program, only their number."""

    def __init__(self, binary: str, backend: str = "cpu", threads: int | None = None) -> None:
        self._binary = binary
        self._backend = backend
        self._threads = threads
        self._program: AprProgram | None = None
        self._artifact: Artifact | None = None
        self._description: EngineDescription | None = None
        self._server: AprServer | None = None

    def load(self, artifact: Artifact, progress: Progress) -> EngineDescription:
        """Probe the program and let it generate one token from the artifact.

        EngineUnavailable: no such program, or no such backend in it. EngineLoadError, EngineCrashed: as it ended.
        """
        self.close()
        self._program = program = probe(find_program(self._binary))
        if self._backend == "gpu" and not program.cuda:
            raise EngineUnavailable(f"no GPU: apr {program.version} at {program.path} is built without CUDA")
        self._artifact = artifact
        progress("first token", 0, 1)
        result = self._run(GenerationRequest("load", LOAD_PROMPT, max_new_tokens=1), progress, loading=True)
        progress("first token", 1, 1)
        self._description = EngineDescription(
            name="apr",
            version=program.version,
            backend=self._backend,
            dtype="as stored",
            threads=self._threads or 0,
            details={
                "program": str(program.path),
                "commit": program.commit,
                "form": "0.72.3" if program.new else "older",
                "one_at_a_time": True,
                "tells_prompt_ids": False,
                "prompt_tokens_of_hello": result.prompt_tokens,
            },
        )
        return self._description

    def describe(self) -> EngineDescription:
        """The loaded engine. EngineError before `load`."""
        if self._description is None:
            raise EngineError("no model is loaded")
        return self._description

    def generate(
        self, requests: Sequence[GenerationRequest], progress: Progress, on_token: TokenSink | None = None
    ) -> list[GenerationResult]:
        """Results in the order of the requests; a refused one has `error`. EngineCrashed: signal or panic."""
        self.describe()
        results = []
        for number, request in enumerate(requests, 1):
            try:
                result = self._answer(request, progress)
            except (EngineCrashed, EngineUnavailable):
                raise
            except EngineError as error:
                result = GenerationResult(request.key, "", None, None, "error", 0.0, error=str(error))
            results.append(result)
            if on_token is not None and not result.error:
                on_token(result.text, result.new_ids or [])
            progress("prompts", number, len(requests))
        return results

    def logits(self, ids: Sequence[int]) -> Any:
        """The program tells no logits: EngineUnavailable."""
        raise EngineUnavailable("logits: the apr program does not tell them; use the torch or the llama engine")

    def serve(self, port: int | None = None) -> str:
        """Start `apr serve run` over the artifact, once; its base URL. Errors as `load`."""
        if self._server is None or self._server.problem() is not None:
            self.describe()
            assert self._program is not None
            assert self._artifact is not None
            self._end_server()
            self._server = AprServer(self._program, model_file(self._artifact.path), self._backend, port)
        return self._server.url

    def server_problem(self) -> EngineError | None:
        """Why the server that was started is gone, or None."""
        return self._server.problem() if self._server is not None else None

    def close(self) -> None:
        """End the server."""
        self._end_server()
        self._description = None

    def _end_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # -- one prompt ----------------------------------------------------------------------------------------------------

    def _answer(self, request: GenerationRequest, progress: Progress) -> GenerationResult:
        if request.max_new_tokens < 1:
            raise EngineError(f"max_new_tokens: found {request.max_new_tokens}, limit at least 1")
        if request.mode == "chat" and request.messages is not None:
            if len(request.messages) != 1 or request.messages[0].get("role") != "user":
                raise EngineError("chat: the apr program takes one user message; ask its server for a dialogue")
            request = GenerationRequest(
                request.key, request.messages[0]["content"], "chat", request.max_new_tokens,
                request.temperature, request.seed,
            )  # fmt: skip
        if request.mode == "chat" and can_be_typed(request.prompt):
            return self._chat(request, progress)
        return self._run(request, progress)

    def _run(self, request: GenerationRequest, progress: Progress, *, loading: bool = False) -> GenerationResult:
        program, model = self._needed()
        if "\0" in request.prompt:
            raise EngineError("the prompt has a zero byte: the apr program cannot be given it")
        if len(request.prompt.encode("utf-8", "surrogatepass")) > LONGEST_ARGUMENT:
            raise EngineError(f"the prompt is longer than {LONGEST_ARGUMENT} bytes, an argument holds no more")
        done = self._finish(run_arguments(program, model, request, self._backend), "", progress)
        problem = problem_of(done, "generating", backend=self._backend)
        if problem is not None:
            if loading and done.status == 8 and NO_TOKENIZER not in done.last_words and "empty" in done.last_words:
                return GenerationResult(request.key, "", None, None, "error", done.seconds, error=str(problem))
            if loading and type(problem) is EngineError:
                raise EngineLoadError(str(problem))
            raise problem
        if not program.new and '"text"' not in done.stdout:
            return GenerationResult(request.key, parse_text_run(done.stdout), None, None, "none", done.seconds)
        output = parse_run(done.stdout)
        self._check_backend(output.backend)
        if output.error or output.status not in (None, "ok"):
            raise EngineError(f"apr run: exit code 0, but status {output.status!r}: {output.error}")
        ended = output.finish_reason or _why_it_ended(output.new_ids, request)
        return GenerationResult(
            request.key, output.text, None, output.new_ids, ended, done.seconds, prompt_tokens=output.prompt_tokens
        )

    def _chat(self, request: GenerationRequest, progress: Progress) -> GenerationResult:
        program, model = self._needed()
        done = self._finish(chat_arguments(program, model, request, self._backend), f"{request.prompt}\n", progress)
        problem = problem_of(done, "chatting", backend=self._backend)
        if problem is not None:
            raise problem
        turn = parse_chat(done.stdout)
        self._check_backend(turn.backend)
        ended = "none" if turn.tokens is None else "length" if turn.tokens >= request.max_new_tokens else "stop"
        return GenerationResult(request.key, turn.text, None, None, ended, done.seconds)

    def _finish(self, argv: list[str], stdin: str, progress: Progress) -> Finished:
        environment = {"RAYON_NUM_THREADS": str(self._threads)} if self._threads else {}
        return run_program(argv, stdin=stdin, environment=environment, on_wait=lambda: progress("apr is running", 0, 1))

    def _check_backend(self, backend: Backend | None) -> None:
        if backend is None:
            return
        ran = "cpu" if backend.ran.startswith("cpu") else "gpu"
        if backend.fell_back or ran != self._backend:
            raise EngineError(
                f"asked for backend {self._backend}, the program ran on {backend.ran}"
                + (" after it fell back" if backend.fell_back else "")
            )

    def _needed(self) -> tuple[AprProgram, Any]:
        if self._program is None or self._artifact is None:
            raise EngineError("no model is loaded")
        return self._program, model_file(self._artifact.path)


def _why_it_ended(new_ids: list[int] | None, request: GenerationRequest) -> str:
    if new_ids is None:
        return "none"
    return "length" if len(new_ids) >= request.max_new_tokens else "stop"
