"""Are two opened artifacts one model? Names, declared numbers, values within the limit of the types, tokens."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.config import ModelConfig

HEAD = "lm_head.weight"
# GGUF and APR have no key for them: the architecture says the activation, names of tensors (I-2) the biases.
UNDECLARED = ("hidden_act", "output_bias", "mlp_bias")
FLOAT_DIGITS = 1e-6  # relative: GGUF stores epsilon and rotary base as float32
TEXTS = (
    "Hello",
    "What is 2+2?",
    "def add(a, b):\n    return a + b\n",
    "  two  spaces, tab\tand newline\n\n",
    "Grüße, 你好, مرحبا, 🙂🙃",
    "1234567890 3.14e-10",
    "<|im_start|>user\nHi<|im_end|>\n",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One respect in which the second artifact is not the first."""

    where: str
    found: Any
    expected: Any
    cause: str

    def __str__(self) -> str:
        return f"{self.where}: {self.found}, expected {self.expected} ({self.cause})"


@dataclass(slots=True)
class Comparison:
    """What was compared, and every difference; `worst` is (tensor, NMSE, limit)."""

    differences: list[Difference] = field(default_factory=list)
    tensors: int = 0
    fields: int = 0
    tokens: int = 0
    worst: tuple[str, float, float] = ("", 0.0, 0.0)


def compare_models(first: OpenArtifact, second: OpenArtifact, through: Collection[str] = ()) -> Comparison:
    """Compare `second` with `first`, tensor by tensor; a tied head may be stored or left out on either side.

    `through`: the formats on the way, which may know a family only by the name of another (GGUF: Mistral as Llama).
    """
    result = Comparison()
    _compare_names(first, second, result)
    _compare_declarations(first, second, result, through)
    _compare_values(first, second, result)
    _compare_tokens(first, second, result)
    return result


def name_differences(first: OpenArtifact, second: OpenArtifact) -> tuple[list[str], list[str]]:
    """(missing, unexpected) names of the second artifact, sorted; a tied head is neither."""
    from pytest_aprqa.suite.tied_head import is_stored_copy

    source, target = set(first.tensors.names()), set(second.tensors.names())
    missing, extra = source - target, target - source
    if second.config.tied_embeddings or is_stored_copy(first, second):
        extra.discard(HEAD)
        if first.config.tied_embeddings:
            missing.discard(HEAD)
    return sorted(missing), sorted(extra)


def _compare_names(first: OpenArtifact, second: OpenArtifact, result: Comparison) -> None:
    missing, extra = name_differences(first, second)
    for name in missing:
        result.differences.append(Difference(name, "missing", "present", "the tensor was lost or renamed"))
    for name in extra:
        result.differences.append(Difference(name, "present", "absent", "the tensor was added or renamed"))


def declaration_differences(
    first: OpenArtifact, second: OpenArtifact, through: Collection[str] = ()
) -> dict[str, tuple[Any, Any, bool]]:
    """field -> (declared by the second, by the first, whether they are the same) for every declared number."""
    from pytest_aprqa.models.families import same_architecture
    from pytest_aprqa.models.rope_scaling import scaling_problem
    from pytest_aprqa.suite.tied_head import is_stored_copy

    mine, source = dataclasses.asdict(second.config), dataclasses.asdict(first.config)
    rows = {}
    for name, expected in source.items():
        found = mine[name]
        same = found == expected
        if isinstance(expected, float) and isinstance(found, float):
            same = math.isclose(found, expected, rel_tol=FLOAT_DIGITS)
        if name in UNDECLARED and not first.format == second.format == "safetensors":
            same = True
        if name == "tied_embeddings":
            same = same or is_stored_copy(first, second)
        if name == "rope_scaling":
            config = first.config
            same = scaling_problem(expected, found, theta=config.rope_theta, head_dim=config.head_dim) is None
        if name == "architecture":
            same = any(same_architecture(found, expected, one) for one in (second.format, *through))
            same = same or same_architecture(expected, found, first.format)
        if name in ("sliding_window", "first_windowed_layer"):
            positions = first.config.max_position_embeddings
            same = _window(second.config, positions) == _window(first.config, positions)
        rows[name] = (found, expected, same)
    return rows


def _window(config: ModelConfig, positions: int) -> tuple[int, int] | None:
    """(tokens that a layer looks back on, first such layer); a window as long as the context is none."""
    window = config.sliding_window
    return None if window is None or window >= positions else (window, config.first_windowed_layer)


def _compare_declarations(
    first: OpenArtifact, second: OpenArtifact, result: Comparison, through: Collection[str]
) -> None:
    for name, (found, expected, same) in declaration_differences(first, second, through).items():
        result.fields += 1
        if not same:
            result.differences.append(Difference(name, found, expected, f"another {name} is declared"))


def _compare_values(first: OpenArtifact, second: OpenArtifact, result: Comparison) -> None:
    from pytest_aprqa.numerics.tensor_error import compare_tensors
    from pytest_aprqa.suite.tied_head import with_head
    from pytest_aprqa.suite.value_limits import value_limit

    first = with_head(first, second)
    present = set(second.tensors.names())
    for name in first.tensors.names():
        if name not in present:
            continue
        result.tensors += 1
        limit = value_limit(first, second, name)
        error = compare_tensors(first.tensors, second.tensors, name)
        if error.cause is not None:
            result.differences.append(Difference(name, error.cause, "the same shape", "another shape"))
        elif not error.nmse <= limit and not _same_with_nan(first, second, name, error.nmse):
            found = f"NMSE {error.nmse:.3g}"
            result.differences.append(Difference(name, found, f"NMSE {limit:.3g}", error.likely_cause()))
        if not error.nmse <= result.worst[1]:
            result.worst = (name, error.nmse, limit)


def _same_with_nan(first: OpenArtifact, second: OpenArtifact, name: str, nmse: float) -> bool:
    """True where both have the same values and NaN in the same places: what came in damaged went out so."""
    import numpy

    if not math.isnan(nmse):
        return False
    return numpy.array_equal(first.tensors.read(name), second.tensors.read(name), equal_nan=True)


def _compare_tokens(first: OpenArtifact, second: OpenArtifact, result: Comparison) -> None:
    mine, source = second.tokenizer, first.tokenizer
    for text in TEXTS:
        expected, found = source.encode(text), mine.encode(text)
        result.tokens += len(expected)
        if expected != found:
            result.differences.append(Difference(repr(text[:30]), found[:6], expected[:6], "another tokenization"))
    for what, found_one, expected_one in (
        ("stop tokens", sorted(mine.end_ids), sorted(source.end_ids)),
        ("chat template", mine.chat_template or "", source.chat_template or ""),
    ):
        if found_one != expected_one:
            cause = f"the {what} were changed" if what.endswith("s") else f"the {what} was changed or lost"
            result.differences.append(Difference(what, str(found_one)[:60], str(expected_one)[:60], cause))
