"""What the `apr` program says about one file, held against the file itself, its source and damaged copies of it."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_aprqa.engines import altered_copies
from pytest_aprqa.engines.apr_exit_codes import problem_of
from pytest_aprqa.engines.apr_output import RunOutput, json_of, parse_run, parse_text_run
from pytest_aprqa.engines.apr_program import AprProgram
from pytest_aprqa.engines.apr_server import AprServer
from pytest_aprqa.engines.apr_tool import LIMIT_S, NOT_AVAILABLE, Given, ToolResult, gate_of
from pytest_aprqa.engines.errors import EngineError
from pytest_aprqa.engines.process import Finished, run_program

if TYPE_CHECKING:
    from pytest_aprqa.models.tokenizer import TokenizerDeclaration

PROMPT = "What is 2+2?"
TOKENS = 8
LOG_LINES = 400
QUANTISED_COPY = "Converting SafeTensors"  # what the server writes when it makes its 4-bit copy


class Claims:
    """The answers of the program over one file; each is asked for once. `check_*` give the reason for a refutation."""

    def __init__(self, program: AprProgram, given: Given) -> None:
        self.program = program
        self.given = given

    def ask(self, *words: str | Path) -> Finished:
        """One command of the program. TimeoutError when it does not end."""
        return run_program([str(self.program.path), *map(str, words)], limit_s=LIMIT_S)

    @functools.cached_property
    def answered(self) -> RunOutput:
        """`run --json` of the prompt. EngineError where it cannot."""
        done = self._run("--json")
        return parse_run(done.stdout)

    @functools.cached_property
    def served(self) -> tuple[list[int], str, str]:
        """Token ids (prompt and answer) and text of `/generate`, and the server's log. EngineError where it cannot."""
        import http.client

        server = AprServer(self.program, self.given.model, "cpu")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S)
            body = json.dumps({"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0})
            connection.request("POST", "/generate", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            data = json.loads(answer.read(1 << 20))
            connection.close()
            ids, text = data.get("token_ids"), data.get("text")
            if not isinstance(ids, list) or not isinstance(text, str):
                raise EngineError(f"/generate: status {answer.status}: {str(data)[:120]}")
            return [*ids], text, server.log_tail(LOG_LINES)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise EngineError(f"/generate: {type(error).__name__}: {error}") from None
        finally:
            server.close()

    @functools.cached_property
    def prompt_ids(self) -> int:
        """How many ids the prompt has, by the tokenizer."""
        return len(self.tokenizer.encode(PROMPT))

    def decoded(self, ids: list[int]) -> str:
        """The text of new ids, without special tokens."""
        return str(self.tokenizer.decode(ids))

    @functools.cached_property
    def tokenizer(self) -> TokenizerDeclaration:
        """Of the source, else the file's own. ValueError: there is none."""
        from pytest_aprqa.models.artifact import open_artifact

        with open_artifact(self.given.source or self.given.model) as opened:
            return opened.tokenizer

    def _run(self, *words: str) -> Finished:
        done = self.ask("run", self.given.model, f"--prompt={PROMPT}", "--max-tokens", str(TOKENS), "--no-gpu", *words)
        problem = problem_of(done, "run")
        if problem is not None:
            raise problem
        return done

    # -- claims --------------------------------------------------------------------------------------------------------

    def check_run_prompt(self) -> str | None:
        """`run` shows the model the prompt as it is: the number of prompt ids is the tokenizer's."""
        told = self.answered.prompt_tokens
        if told is None or told == self.prompt_ids:
            return None if told is not None else "run tells no prompt_tokens"
        wrapped = " (a chat template is around it)" if told >= self.prompt_ids + len("<|im_start|>user") // 4 else ""
        return f"run: {told} prompt ids for a raw prompt that has {self.prompt_ids}{wrapped}"

    def check_serve_prompt(self) -> str | None:
        """`run` and `/generate` show the model the same number of prompt ids."""
        ids, _, _ = self.served
        served = len(ids) - TOKENS
        told = self.answered.prompt_tokens
        if told is None or self.answered.new_ids is None or len(self.answered.new_ids) != TOKENS:
            return None
        return None if served == told else f"one prompt: {told} prompt ids in run, {served} in /generate"

    def check_serve_text(self) -> str | None:
        """Greedily, `/generate` answers what `run` answers, and serves the file itself."""
        ids, text, log = self.served
        copied = next((line.strip() for line in log.splitlines() if QUANTISED_COPY in line), None)
        if copied is not None:
            return f"another model is served than the file, without a word to the client: {copied}"
        new = self.answered.new_ids
        if new is not None and ids[-len(new) :] != new:
            return f"new ids: run {new[:4]}, /generate {ids[-len(new) :][:4]}, text {text[:20]!r}"
        return None

    def check_decoder(self) -> str | None:
        """`run` and `run --json` print what the new ids decode to, not the symbols of bytes in the vocabulary."""
        told, ids = self.answered.text, self.answered.new_ids
        printed = parse_text_run(self._run().stdout)
        if printed.strip() != told.strip():
            return f"run prints {printed[:30]!r}, run --json {told[:30]!r}"
        if ids is None:
            return None
        right = self.decoded(ids)
        if told.strip() == right.strip():
            return None
        return f"byte-level symbols are shown as text: {told[:30]!r}, the ids decode to {right[:30]!r}"

    def check_validate_counts(self) -> str | None:
        """What did not run earns no points."""
        fields = json_of(self.ask("validate", self.given.model, "--json").stdout)
        left, ran = fields.get("checks_not_implemented"), fields.get("checks_ran")
        if not isinstance(left, int) or not left or not isinstance(ran, int):
            return None
        score, grade = fields.get("total_score"), fields.get("grade")
        return f"validate: {score} points, {grade}, with {ran} of {ran + left} checks" if score == 100 else None

    def check_flipped_data_bit(self) -> str | None:
        """A flipped bit of the data is seen: the checksum in the footer is there to be read."""
        return self._accepted(altered_copies.flipped_data_bit, "with one bit of its data flipped")

    def check_flipped_header_bit(self) -> str | None:
        """A flipped bit of the header is seen: it has a checksum of its own."""
        return self._accepted(altered_copies.flipped_header_bit, "with one bit of its header flipped")

    def check_half_file(self) -> str | None:
        """Half a file is no valid file."""
        return self._accepted(altered_copies.half_file, "that is cut in half")

    def _accepted(self, alter: Callable[[Path, Path], Path], words: str) -> str | None:
        copy = alter(self.given.model, self.given.folder)
        content = []
        for command in ("inspect", "validate", "tensors"):
            done = self.ask(command, copy, "--json")
            if done.status != 0:
                continue
            fields = json_of(done.stdout)
            if fields.get("valid", True) is True and fields.get("verdict", "VALID") == "VALID":
                content.append(command)
        done = self.ask("run", copy, f"--prompt={PROMPT}", "--max-tokens", "2", "--no-gpu", "--json")
        content += ["run"] if done.status == 0 else []
        return f"{', '.join(content)} accept a file {words}" if content else None


OF_EVERY_FILE = ("run-prompt", "serve-prompt", "serve-text", "decoder", "validate-counts")
OF_APR = ("flipped-data-bit", "flipped-header-bit", "half-file")


def check_claims(program: AprProgram, given: Given, is_apr: bool) -> Iterator[ToolResult]:
    """Each claim as the result of a tool: passed, failed with its reason, or None where it could not be asked."""
    claims = Claims(program, given)
    for name in (*OF_EVERY_FILE, *(OF_APR if is_apr else ())):
        yield _result(name, getattr(claims, f"check_{name.replace('-', '_')}"))


def _result(name: str, check: Callable[[], Any]) -> ToolResult:
    started = time.monotonic()
    passed: bool | None
    try:
        reason = check()
        passed, code = reason is None, 0
    except (EngineError, TimeoutError, OSError, ValueError) as error:
        # The program refuses the file or cannot run it: that is the finding of another tool.
        passed, code, reason = None, NOT_AVAILABLE, f"could not be asked: {' '.join(str(error).split())}"
    spent = round((time.monotonic() - started) * 1000)
    return ToolResult(name, gate_of(name), passed, code, spent, reason or "", "")
