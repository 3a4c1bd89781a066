"""Where a core is: by signal, pattern and limit."""

from __future__ import annotations

import pytest

from pytest_aprqa.engines.core_hint import core_hint


@pytest.mark.parametrize(
    ("signal", "pattern", "limit", "words"),
    [
        ("SIGSEGV", "core", 0, "no core: the limit is 0; run again after `ulimit -c unlimited`"),
        ("SIGSEGV", "core", 1, "the core is core in the working folder of the run"),
        ("SIGABRT", "/var/cores/%e.%p", -1, "the core is /var/cores/%e.%p; open it with gdb"),
        ("SIGABRT", "|/usr/lib/systemd/systemd-coredump %P", 0, "`coredumpctl info` shows it"),
        ("SIGBUS", "|/usr/share/apport/apport %p", 0, "the core went to /usr/share/apport/apport: ask"),
        ("SIGBUS", "|", -1, "the core went to a program"),
        ("SIGFPE", "", -1, "the core is  in the working folder"),
        ("SIGKILL", "core", -1, "`dmesg` says whether the kernel ended it"),
        ("SIGTERM", "core", -1, "no core: SIGTERM leaves none"),
    ],
)
def test_a_hint_is_one_line_that_says_what_to_do(signal: str, pattern: str, limit: int, words: str) -> None:
    hint = core_hint(signal, pattern=pattern, soft_limit=limit)
    assert words in hint
    assert "\n" not in hint


def test_the_pattern_and_the_limit_of_this_machine_are_asked() -> None:
    assert "core" in core_hint("SIGSEGV")
