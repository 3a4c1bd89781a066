"""LAYOUT-002 as a verdict on one file: shape and bytes of every tensor, by the built-in contract or one from a file."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_aprqa.formats.tensor_file import TensorEntry
    from pytest_aprqa.models.artifact import OpenArtifact
    from pytest_aprqa.models.config import ModelConfig

MATRIX, HEAD, VECTOR, BYTES, PAD = (f"F-LAYOUT-CONTRACT-00{n}" for n in range(1, 6))
FILE_EXISTS, PARSE_ERROR, LOAD = "FILE-EXISTS", "PARSE-ERROR", "F-CONTRACT-LOAD-001"
RULES = {
    MATRIX: "matrices are [out, in] as the dimensions of the model demand",
    HEAD: "the output head is [vocabulary, hidden] (critical)",
    VECTOR: "norms and biases have the length of their dimension",
    BYTES: "bytes of a tensor are those of its type and shape",
    PAD: "no padding tokens in what the model generates (critical): aprqa check --depth text tries it",
}
HEAD_NAME = "lm_head.weight"
_LARGEST_FORMULA = 200
_FORMULA = re.compile(r"[a-z_0-9 *+()]+")
_SYMBOLS = ("vocab", "hidden", "heads", "kv", "kv_heads", "head_dim", "inter", "intermediate", "layers")


class ContractError(ValueError):
    """A contract file cannot be used. The message begins with F-CONTRACT-LOAD-001."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule applied to one tensor."""

    rule: str
    tensor: str
    passed: bool
    critical: bool
    message: str


@dataclass(slots=True)
class LayoutReport:
    """All results; `status` is NOT EVALUATED when no rule could be applied, which is no pass."""

    path: str
    contract: str
    results: list[RuleResult] = field(default_factory=list)

    @property
    def failed(self) -> list[RuleResult]:
        """Results that did not hold."""
        return [result for result in self.results if not result.passed]

    @property
    def status(self) -> str:
        """PASS, FAIL or NOT EVALUATED."""
        return "FAIL" if self.failed else "PASS" if self.results else "NOT EVALUATED"

    def to_json(self) -> dict[str, Any]:
        """Plain data with the counts of the text form."""
        return {
            "path": self.path, "contract": self.contract, "status": self.status, "passed": self.status == "PASS",
            "rules_checked": len(self.results), "rules_passed": len(self.results) - len(self.failed),
            "rules_failed": len(self.failed), "results": [asdict(result) for result in self.results],
        }  # fmt: skip


def validate_layout(path: Path, contract: Path | None = None, *, critical_only: bool = False) -> LayoutReport:
    """Apply the contract to a file or SafeTensors folder. ContractError: the contract itself cannot be read."""
    from pytest_aprqa.models.artifact import open_artifact

    formulas = load_contract(contract) if contract is not None else None
    report = LayoutReport(str(path), str(contract) if contract else "built-in LAYOUT-002")
    if not path.exists():
        report.results.append(RuleResult(FILE_EXISTS, "", False, True, f"{path}: no such file or folder"))
        return report
    try:
        with open_artifact(path) as artifact:
            expected = _expected(artifact, formulas)
            for name in artifact.tensors.names():
                report.results += _judge(artifact.tensors.entry(name), expected.get(name))
    except (OSError, ValueError) as error:
        report.results = [RuleResult(PARSE_ERROR, "", False, True, str(error))]
    if critical_only:
        report.results = [result for result in report.results if result.critical]
    return report


def _expected(artifact: OpenArtifact, formulas: Mapping[str, tuple[str, ...]] | None) -> dict[str, tuple[int, ...]]:
    """Shapes by canonical name. A dimension that the contract cannot resolve leaves its tensor out."""
    from pytest_aprqa.models.families import EMBEDDING, expected_tensors

    if formulas is None:
        shapes = dict(expected_tensors(artifact.config))
        shapes.setdefault(HEAD_NAME, shapes[EMBEDDING])
        return shapes
    symbols = _symbols(artifact.config)
    shapes = {}
    for pattern, formula in formulas.items():
        sizes = tuple(_size(part, symbols) for part in formula)
        if any(size is None for size in sizes):
            continue
        known = tuple(size for size in sizes if size is not None)
        names = [pattern.replace("{n}", str(n)) for n in range(artifact.config.num_layers)]
        shapes |= dict.fromkeys(names if "{n}" in pattern else [pattern], known)
    return shapes


def _judge(entry: TensorEntry, expected: tuple[int, ...] | None) -> list[RuleResult]:
    critical = entry.name == HEAD_NAME
    results = []
    if expected is not None:
        rule = HEAD if critical else MATRIX if len(expected) > 1 else VECTOR
        same = entry.shape == expected
        transposed = " (transposed)" if entry.shape == expected[::-1] and not same else ""
        message = f"shape {list(entry.shape)}" + ("" if same else f", expected {list(expected)}{transposed}")
        results.append(RuleResult(rule, entry.name, same, critical, message))
    bytes_expected = expected_bytes(entry.dtype, entry.shape)
    if bytes_expected is not None:
        same = entry.nbytes == bytes_expected
        message = f"{entry.nbytes} bytes of {entry.dtype}" + ("" if same else f", expected {bytes_expected}")
        results.append(RuleResult(BYTES, entry.name, same, critical, message))
    return results


def expected_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Rows x ceil(columns / block) x bytes of a block, the rule of LAYOUT-002; None for a type without blocks."""
    from pytest_aprqa.formats.blocks import BLOCKS

    if dtype not in BLOCKS or not shape:
        return None
    width, size = BLOCKS[dtype]
    if dtype.startswith("APR_"):
        return math.ceil(math.prod(shape) / width) * size
    return math.prod(shape[:-1]) * math.ceil(shape[-1] / width) * size


def load_contract(path: Path) -> dict[str, tuple[str, ...]]:
    """name (with {n} for the layer) -> row-major shape as formulas, from the `tensors` of a contract file (YAML).

    ContractError names the file and the entry.
    """
    from pytest_aprqa.playbooks.document import load_yaml
    from pytest_aprqa.playbooks.errors import PlaybookError

    try:
        data = load_yaml(path).data
    except PlaybookError as error:
        raise ContractError(f"{LOAD}: {error}") from None
    rows = data.get("tensors") if isinstance(data, dict) else None
    if not isinstance(rows, dict) or not rows:
        raise ContractError(f"{LOAD}: {path}: tensors: missing or empty; a contract lists tensors by role")
    formulas = {}
    for role, row in rows.items():
        name, shape = (row.get("apr_name"), row.get("apr_shape")) if isinstance(row, dict) else (None, None)
        parts = shape if isinstance(shape, list) else str(shape or "").strip("[] ").split(",")
        texts = tuple(str(part).strip() for part in parts)
        if not isinstance(name, str) or not all(_FORMULA.fullmatch(t) and len(t) <= _LARGEST_FORMULA for t in texts):
            raise ContractError(f"{LOAD}: {path}: tensors.{role}: needs apr_name and apr_shape such as [vocab, hidden]")
        formulas[name] = texts
    return formulas


def _symbols(config: ModelConfig) -> dict[str, int]:
    values = (
        config.vocab_size, config.hidden_size, config.num_heads, config.num_kv_heads, config.num_kv_heads,
        config.head_dim, config.intermediate_size, config.intermediate_size, config.num_layers,
    )  # fmt: skip
    return dict(zip(_SYMBOLS, values, strict=True))


def _size(formula: str, symbols: Mapping[str, int]) -> int | None:
    """The value of a product such as `heads*head_dim`; None when a factor is not known."""
    product = 1
    for factor in formula.split("*"):
        text = factor.strip()
        value = int(text) if text.isdecimal() and len(text) < 12 else symbols.get(text.removeprefix("num_"))
        if value is None:
            return None
        product *= value
    return product
