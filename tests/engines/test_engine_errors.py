"""What a death says in one line: signal or exit code, and the words that tell why."""

from __future__ import annotations

import pytest

from pytest_aprqa.engines.errors import EngineCrashed

RUST = """loading
thread 'main' panicked at src/config.rs:132:9:
KV cache is full
stack backtrace:
   0: __rustc::rust_begin_unwind
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""


@pytest.mark.parametrize(
    ("code", "stderr", "words"),
    [
        (101, RUST, "exit code 101; last words: thread 'main' panicked at src/config.rs:132:9: KV cache is full"),
        (101, "thread 'main' panicked at x.rs:1:1:", "last words: thread 'main' panicked at x.rs:1:1"),
        (
            -11,
            "Fatal Python error: Segmentation fault\n\nThread 0x1\n  File x",
            "SIGSEGV; last words: Fatal Python error",
        ),
        (3, "one\ntwo\n\n", "exit code 3; last words: two"),
        (-9, "", "killed by SIGKILL"),
    ],
)
def test_a_crash_says_how_and_why_in_one_line(code: int, stderr: str, words: str) -> None:
    crash = EngineCrashed("generating", exit_code=code, stderr_tail=stderr)
    assert words in str(crash)
    assert "\n" not in str(crash)
    assert crash.signal == (-code if code < 0 else None)
