"""The defects behind G3 really crash or hang whoever believes the artifact: shown in a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jinja2.sandbox
import pytest

from pytest_aprqa.defects.catalogue import apply_defect
from pytest_aprqa.defects.targets import ENDLESS_TEMPLATE, RAISING_TEMPLATE


def run(code: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, timeout=timeout, check=False)


def test_decoder_panic_ends_a_process_that_encodes_without_complaint(random_qwen2_folder: Path, tmp_path: Path) -> None:
    folder = apply_defect("decoder-panics", random_qwen2_folder, tmp_path / "m")
    code = (
        "import sys, tokenizers\n"
        "tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])\n"
        "assert tokenizer.decode(tokenizer.encode('Hello').ids) == 'Hello'\n"
        "ids = tokenizer.encode('a\\n').ids\n"
        "print(len(ids), flush=True)\n"
        "try:\n    tokenizer.decode(ids)\n"
        "except Exception:\n    print('caught')\n"
    )
    result = run(code, str(folder / "tokenizer.json"), timeout=60)
    assert result.stdout.strip() == b"2", "a panic is no Exception: an engine cannot catch it as one"
    assert result.returncode != 0
    assert b"panicked" in result.stderr


def test_endless_template_does_not_end() -> None:
    code = (
        "import sys, jinja2.sandbox as s; "
        "s.ImmutableSandboxedEnvironment().from_string(sys.argv[1]).render(messages=[{'content': 'x'}])"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run(code, ENDLESS_TEMPLATE, timeout=3)


def test_raising_template_raises() -> None:
    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    template = environment.from_string(RAISING_TEMPLATE)
    with pytest.raises(jinja2.exceptions.TemplateError, match="alternate"):
        template.render(messages=[], raise_exception=raise_exception)
