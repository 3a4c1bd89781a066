"""Where the core of a process that died by a signal is, or how to get one: part of the evidence of a crash."""

from __future__ import annotations

import resource
from pathlib import Path

PATTERN = Path("/proc/sys/kernel/core_pattern")
#: signals that leave a core: https://man7.org/linux/man-pages/man7/signal.7.html, action "Core"
CORE_SIGNALS = frozenset(
    {"SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGQUIT", "SIGSEGV", "SIGSYS", "SIGTRAP", "SIGXCPU", "SIGXFSZ"}
)


def core_hint(signal_name: str, *, pattern: str | None = None, soft_limit: int | None = None) -> str:
    """One line for evidence. `pattern` and `soft_limit` (bytes, -1 without limit) default to those of this machine."""
    if signal_name == "SIGKILL":
        return "no core: SIGKILL leaves none; `dmesg` says whether the kernel ended it for lack of memory"
    if signal_name not in CORE_SIGNALS:
        return f"no core: {signal_name} leaves none"
    if pattern is None:
        pattern = _pattern()
    if pattern.startswith("|"):
        program = pattern[1:].split()[0] if pattern[1:].split() else "a program"
        how = "`coredumpctl info` shows it" if "systemd-coredump" in program else "ask that program for it"
        return f"the core went to {program}: {how}"
    limit = resource.getrlimit(resource.RLIMIT_CORE)[0] if soft_limit is None else soft_limit
    if limit == 0:
        return "no core: the limit is 0; run again after `ulimit -c unlimited` and open it with gdb"
    place = pattern if pattern.startswith("/") else f"{pattern} in the working folder of the run"
    return f"the core is {place or 'core in the working folder of the run'}; open it with gdb"


def _pattern() -> str:
    try:
        return PATTERN.read_text(encoding="utf-8").strip()
    except OSError:
        return "core"  # no /proc: the name that POSIX systems have used
