"""What release 0.72.3 of the `apr` program is known to get wrong, and by which findings each defect is recognised.

Measured on files that the release wrote itself; nothing is reported that was not found on the files at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

RELEASE = "0.72.3"


@dataclass(frozen=True, slots=True)
class Observation:
    """One finding: `check` is the name of a tool or the gate of a comparison, `words` say what and where."""

    file: str
    check: str
    words: str


@dataclass(frozen=True, slots=True)
class Sign:
    """A finding of `check` whose words hold `words`, about a file whose name ends with `suffix`."""

    check: str
    words: str
    suffix: str = ""

    def of(self, observations: Iterable[Observation]) -> list[Observation]:
        """The observations that are this sign."""
        return [
            one
            for one in observations
            if one.check == self.check and self.words in one.words and one.file.endswith(self.suffix)
        ]


@dataclass(frozen=True, slots=True)
class KnownDefect:
    """A defect of the release. Each of its signs shows it."""

    what: str
    signs: tuple[Sign, ...]


KNOWN_DEFECTS: tuple[KnownDefect, ...] = (
    KnownDefect(
        "import stamps the interleaved rotary type on the half-split weights of a Llama",
        (Sign("G0-INTEGRITY-SOURCE", "rope_style", ".apr"), Sign("F-HFP-001", "logits", ".apr")),
    ),
    KnownDefect(
        "export to GGUF writes no token types and no chat template, and guesses the pre-tokenizer",
        (
            Sign("F-CONTRACT-I5-001", "token types", ".gguf"),
            Sign("F-CONTRACT-I5-001", "chat template", ".gguf"),
            Sign("run-prompt", "prompt ids", ".gguf"),
        ),
    ),
    KnownDefect("convert drops the whole tokenizer", (Sign("F-CONTRACT-I5-001", "tokenizer is missing", ".apr"),)),
    KnownDefect(
        "rosetta convert to GGUF quantises without being asked",
        (
            Sign("F-CONTRACT-I3-001", "quantised without being asked", ".gguf"),
            Sign("rosetta-convert", "quantised without being asked"),
        ),
    ),
    KnownDefect("run wraps a raw prompt in a chat template over SafeTensors", (Sign("run-prompt", "chat template"),)),
    KnownDefect("rosetta fingerprint returns 0 for every statistic", (Sign("rosetta-fingerprint", "are 0"),)),
    KnownDefect(
        "rosetta validate-stats passes any pair of files",
        (Sign("rosetta-validate-stats-control", "passes as the same"),),
    ),
    KnownDefect(
        "a flipped bit of the data is seen by no command, the footer's checksum is never read",
        (Sign("flipped-data-bit", "accept"),),
    ),
    KnownDefect(
        "inspect calls a file valid that has a flipped header bit or is cut in half",
        (Sign("flipped-header-bit", "inspect"), Sign("half-file", "inspect")),
    ),
    KnownDefect(
        "qa panics on SafeTensors, compare-inference calls a program that is not there, profile times ids of no token",
        (
            Sign("qa", "exit code 101"),
            Sign("rosetta-compare-inference", "realizar"),
            Sign("profile-ci", "outside the vocabulary"),
        ),
    ),
    KnownDefect("validate gives full marks for a fifth of its checks", (Sign("validate-counts", "checks"),)),
    KnownDefect("run prints the symbols of bytes instead of text", (Sign("decoder", "byte-level symbols"),)),
    KnownDefect(
        "one prompt has other ids in run and in /generate; SafeTensors are served from a 4-bit copy",
        (Sign("serve-prompt", "prompt ids"), Sign("serve-text", "another model is served")),
    ),
)
