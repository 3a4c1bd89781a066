"""The contract on the released `apr` program, and on its server by address; what it is known not to keep is named."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlencode

import pytest

from pytest_aprqa.engine_contract import LIMIT_S, EngineContract
from pytest_aprqa.engines.host import EngineHost

pytestmark = pytest.mark.real_apr
PROGRAM = shutil.which(os.environ.get("APRQA_APR_BINARY", "apr"))


class AprContract(EngineContract):
    """On a model without chat template: with one, the release never completes raw text."""

    format = "apr"
    tells_prompt_ids = False
    tells_logits = False

    @classmethod
    def source_folder(cls, scratch: Path) -> Path:
        if PROGRAM is None:
            pytest.skip("no `apr` program on PATH (APRQA_APR_BINARY names one): cargo install apr-cli")
        folder = scratch / "bare"
        shutil.copytree(super().source_folder(scratch), folder)
        (folder / "chat_template.jinja").unlink()
        fields = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        fields.pop("chat_template", None)
        (folder / "tokenizer_config.json").write_text(json.dumps(fields), encoding="utf-8")
        return folder


class TestApr(AprContract):
    known: ClassVar[dict[str, str]] = {
        "test_same_file_gives_the_ids_of_torch": "0.72.3 goes on after the end token and cuts unicode in fewer tokens",
        "test_length_limit_is_kept": "0.72.3 refuses an answer of one token without text as an empty completion",
        "test_characters_of_several_tokens_are_whole": "0.72.3 prints the byte symbol of half a character: Ã for Ä",
    }

    @classmethod
    @contextlib.contextmanager
    def engine_over(cls, artifact: Any) -> Iterator[str]:
        yield "apr?" + urlencode({"binary": str(PROGRAM), "backend": "cpu"})


class TestServerOfApr(AprContract):
    tells_new_ids = False
    known: ClassVar[dict[str, str]] = {
        "test_file_that_is_none_is_a_load_error": "a server's file is its own affair: nothing is loaded",
        "test_same_file_gives_the_ids_of_torch": "0.72.3 cuts unicode in fewer tokens than the file's merges make",
    }

    @classmethod
    @contextlib.contextmanager
    def engine_over(cls, artifact: Any) -> Iterator[str]:
        with EngineHost("apr?" + urlencode({"binary": str(PROGRAM)}), threads=2) as host:
            host.load(artifact, LIMIT_S)
            yield "url?" + urlencode({"url": host.serve(LIMIT_S)})
