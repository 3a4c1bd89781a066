"""What a structured ticket says of a root cause: what is wrong, the checks that judge it, and how to seed the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_aprqa.evidence.record import Evidence

UNKNOWN_CAUSE = "unknown"
# The first rule that matches names the cause (gates.md 7.3). Whole words: "financial" says nothing of NaN.
_RULES = (
    ("tensor_name_mismatch", r"tensor name|name mismatch|missing tensor|unexpected tensor|tensors are missing"),
    ("dequantization_failure", r"dequantiz\w*|quantiz\w*|nan|infinity|overflow"),
    ("missing_artifact", r"not found|no such file|config\.json|missing(?!.*mismatch)|tokenizer(?!.*mismatch)"),
    (
        "config_metadata_mismatch",
        r"hidden_size|num_layers|num_hidden_layers|vocab_size|metadata mismatch|config mismatch|config says",
    ),
    ("inference_failure", r"inference|forward pass|segfault|sigsegv"),
)


@dataclass(frozen=True, slots=True)
class CauseNotes:
    """`checks`: those that must pass when it is repaired; `defect`: of the catalogue, breaks a sound model alike."""

    meaning: str
    checks: tuple[str, ...]
    defect: str


NOTES: dict[str, CauseNotes] = {
    "tensor_name_mismatch": CauseNotes(
        "Tensors of the artifact have other names than the source's, or some are not there.",
        ("test_tensor_names_are_in_bijection", "test_no_tensor_is_renamed_or_fused"),
        "tensor-renamed",
    ),
    "dequantization_failure": CauseNotes(
        "Stored values do not decode to the source's: scales, block order or precision were lost.",
        ("test_tensor_values_are_sound", "test_values_are_preserved"),
        "gguf-q8-scale-nan",
    ),
    "missing_artifact": CauseNotes(
        "A file that belongs to the model is not there, or cannot be read.",
        ("test_file_is_sound", "test_tokenizer_is_complete"),
        "tokenizer-missing",
    ),
    "config_metadata_mismatch": CauseNotes(
        "What the artifact declares of its sizes is not what its tensors have.",
        ("test_configuration_matches_tensors", "test_declaration_is_the_sources"),
        "config-hidden-size-wrong",
    ),
    "inference_failure": CauseNotes(
        "The engine loads the artifact and ends, hangs or refuses while it computes.",
        ("test_model_loads", "test_engine_survives"),
        "decoder-panics",
    ),
}


def cause_of(entry: Evidence) -> str:
    """Root cause of a failure, from what it said; `unknown` where no rule matches."""
    text = f"{entry.stderr or ''}\n{entry.reason or ''}".lower()
    for key, pattern in _RULES:
        if re.search(rf"(?<!\w)(?:{pattern})(?!\w)", text):
            return key
    return "inference_failure" if entry.exit_code == -11 else UNKNOWN_CAUSE


def cause_section(cause: str) -> list[str]:
    """Markdown lines of a ticket's section on its cause; none for an unknown one."""
    notes = NOTES.get(cause)
    if notes is None:
        return []
    checks = ", ".join(f"`{check}`" for check in notes.checks)
    return [
        "## Root cause",
        "",
        notes.meaning,
        "",
        f"- **Repaired when these pass:** {checks}",
        f"- **The same in a sound model:** `aprqa defects apply {notes.defect} SOURCE TARGET`",
        "",
    ]
