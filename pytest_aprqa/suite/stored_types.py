"""As what type a file must be judged, and which tensor types are right in such a file (I-3, silent fall-backs)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pytest_aprqa.formats.apr_layout import LABELS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pytest_aprqa.formats.tensor_file import TensorEntry
    from pytest_aprqa.models.artifact import OpenArtifact

AS_DECLARED: Final = "DECLARED"  # what a playbook names when the file's own declaration decides
FLOATS: Final = ("F64", "F32", "F16", "BF16")
#: llama.cpp's enum llama_ftype (include/llama.h): general.file_type -> label.
FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
#: Types that llama.cpp's quantiser mixes into a file of the label's base type (llama_tensor_get_type).
MIXTURES: Final[dict[str, frozenset[str]]] = {
    "Q8_0": frozenset({"Q8_0"}),
    "Q6_K": frozenset({"Q6_K", "Q8_0"}),
    "Q5_K": frozenset({"Q5_K", "Q6_K", "Q8_0"}),
    "Q5_0": frozenset({"Q5_0", "Q5_1", "Q6_K", "Q8_0"}),
    "Q5_1": frozenset({"Q5_1", "Q6_K", "Q8_0"}),
    "Q4_K": frozenset({"Q4_K", "Q5_K", "Q6_K", "Q8_0"}),
    "Q4_0": frozenset({"Q4_0", "Q4_1", "Q5_0", "Q5_K", "Q6_K", "Q8_0"}),
    "Q4_1": frozenset({"Q4_1", "Q5_1", "Q6_K", "Q8_0"}),
    "Q3_K": frozenset({"Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"}),
    "Q2_K": frozenset({"Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"}),
}
#: Values of a row that must fill whole blocks, else the row may stay a float: every GGUF file has types in blocks of 32
#: to fall back to, APR beside Q4_K and Q6_K has none.
SHORTEST_BLOCK: Final = {"gguf": 32, "apr": 256}
#: Matrices of a layer that llama.cpp's mixtures give more bits than the base type.
_FAVOURED: Final = ("down_proj.weight", "v_proj.weight")
#: What llama.cpp stores instead of a type in blocks of 256 where a row does not fill them (tensor_type_fallback; Q2_K
#: and Q3_K by older versions: Q4_0, Q4_1, IQ4_NL). Types of other names: any of these.
FALLBACKS: Final[dict[str, frozenset[str]]] = {
    "Q6_K": frozenset({"Q8_0"}),
    "Q5_K": frozenset({"Q5_1"}),
    "Q4_K": frozenset({"Q5_0"}),
    "Q3_K": frozenset({"Q4_0", "Q4_1", "IQ4_NL"}),
    "Q2_K": frozenset({"Q4_0", "Q4_1", "IQ4_NL"}),
}
SHORT_ROWS: Final = frozenset({"Q4_0", "Q4_1", "IQ4_NL", "Q5_0", "Q5_1", "Q8_0"})
ENDS: Final = ("model.embed_tokens.weight", "lm_head.weight")  # converters may leave both as the source has them
_ROUTERS: Final = ("mlp.gate.weight", "block_sparse_moe.gate.weight", "mlp.router.weight")


@dataclass(frozen=True, slots=True)
class TypeProblem:
    """One tensor (or the file as a whole) of a type that its declaration does not cover."""

    where: str
    found: str
    limit: str
    cause: str

    def __str__(self) -> str:
        return f"{self.where}: {self.limit}, {self.found}"


def declared_label(artifact: OpenArtifact) -> str | None:
    """What the file says that it is, `Q4_K_M`; None where it does not say."""
    if artifact.format == "gguf":
        value = artifact.file.metadata.get("general.file_type")
        return FILE_TYPES.get(value) if isinstance(value, int) else None
    return None


def majority_type(entries: Iterable[TensorEntry]) -> str | None:
    """The type that holds most values of the layers' matrices (of all matrices, where there is no layer)."""
    matrices = [entry for entry in entries if len(entry.shape) > 1]
    layers = [entry for entry in matrices if entry.name.startswith("model.layers.")] or matrices
    values: Counter[str] = Counter()
    for entry in layers:
        values[entry.dtype] += math.prod(entry.shape)
    return values.most_common(1)[0][0] if values else None


def base_type(label: str) -> str:
    """The tensor type that a label is named after: Q4_K for Q4_K_M, APR_Q8 for APR's `q8`."""
    if label.upper() in LABELS:
        return LABELS[label.upper()]
    parts = label.upper().split("_")
    if len(parts) > 2 and parts[1] == "K":
        return "_".join(parts[:2])
    return "IQ3_S" if label in ("IQ3_M", "IQ3_XS") else "IQ2_S" if label == "IQ2_M" else label.upper()


def named(dtype: str, labels: Collection[str]) -> bool:
    """True when one of the labels (`Q4_K_M`) covers a stored type (`Q4_K`) as its base type."""
    return any(base_type(label) == dtype for label in labels)


def type_problems(
    artifact: OpenArtifact, source: dict[str, TensorEntry], labels: Collection[str]
) -> tuple[str, list[TypeProblem]]:
    """(label the file is judged as, tensors whose type is a silent fall-back).

    `labels` are the playbook's types in capitals, or AS_DECLARED. Vectors may be widened to F32 in any file. A file
    that declares no type is judged as the one of its types under which fewest tensors stand out.
    """
    entries = {name: artifact.tensors.entry(name) for name in artifact.tensors.names()}
    most = majority_type(entries.values()) or "F32"
    label = declared_label(artifact)
    if label is not None:
        problems = _fallbacks(entries, source, labels, label)
        lies = base_type(label) != most and not _same_family(label, most)
        if (problems and lies) or _is_absent(base_type(label), entries):
            cause = "declares another type than it has"
            problems.insert(0, TypeProblem("general.file_type", most, f"declared {label}", cause))
        return label, problems
    quantised = [e for e in entries.values() if e.dtype not in FLOATS and len(e.shape) > 1]
    candidates = dict.fromkeys([most, majority_type(quantised) or most])
    short = SHORTEST_BLOCK.get(artifact.format, 32)
    judged = {one: _fallbacks(entries, source, labels, one, short) for one in candidates}
    label = min(judged, key=lambda one: len(judged[one]))
    return label, _false_claim(artifact, entries, most) + judged[label]


def _false_claim(artifact: OpenArtifact, entries: dict[str, TensorEntry], most: str) -> list[TypeProblem]:
    """The `quantization` of APR metadata where no tensor has that type; it names no mixture and judges no tensor."""
    claim = artifact.file.metadata.get("quantization") if artifact.format == "apr" else None
    kind = claim.get("quant_type") if isinstance(claim, dict) else None
    if not isinstance(kind, str) or any(entry.dtype == base_type(kind) for entry in entries.values()):
        return []
    return [TypeProblem("quantization.quant_type", most, f"declared {kind}", "declares another type than it has")]


def _fallbacks(
    entries: dict[str, TensorEntry],
    source: dict[str, TensorEntry],
    labels: Collection[str],
    label: str,
    short: int = 32,
) -> list[TypeProblem]:
    problems = []
    for name, entry in entries.items():
        origin = source.get(name)
        if origin is None:
            continue
        if len(entry.shape) < 2:
            right = entry.dtype in ("F32", origin.dtype)
        elif AS_DECLARED not in labels and not named(base_type(label), labels):
            # The file as a whole is of a type that the playbook does not name: only the source's own type is right.
            right = entry.dtype == origin.dtype or named(entry.dtype, labels)
        else:
            right = _fits(name, entry, origin.dtype, base_type(label), short)
        if not right:
            found, expected = f"{entry.dtype} in the artifact", f"{origin.dtype} in the source"
            problems.append(TypeProblem(name, found, expected, _cause(entry.dtype, origin.dtype, label)))
    return problems


def _same_family(label: str, most: str) -> bool:
    """Mixtures of few bits may hold more values of a neighbouring type than of their base type."""
    few_bits = label.startswith(("IQ", "TQ", "MXFP4")) and most not in FLOATS
    return few_bits or most in MIXTURES.get(base_type(label), ())


def _is_absent(base: str, entries: dict[str, TensorEntry]) -> bool:
    """True when no matrix has the declared type although some must: `Q4_K_M` on a file of Q8_0 alone."""
    layers = {n: e for n, e in entries.items() if n.startswith("model.layers.") and len(e.shape) > 1}
    plain = [e for n, e in layers.items() if not n.endswith((*_FAVOURED, *_ROUTERS)) and not e.shape[-1] % 256]
    return base in MIXTURES and bool(plain) and all(entry.dtype != base for entry in layers.values())


def _fits(name: str, entry: TensorEntry, source: str, base: str, short: int) -> bool:
    if entry.dtype == base or (base in FLOATS and entry.dtype == source):
        return True
    if base in FLOATS:
        return name.endswith(_ROUTERS) and entry.dtype == "F32"
    if base.startswith("APR_"):
        return entry.dtype == source and (name in ENDS or name.endswith(_ROUTERS))
    if entry.dtype in MIXTURES.get(base, ()) or (base not in MIXTURES and entry.dtype not in FLOATS):
        return True
    if entry.shape[-1] % 256 and entry.dtype in _short_row_types(base):
        return True
    if entry.dtype in FLOATS and (name.endswith(_ROUTERS) or entry.shape[-1] % short):
        return True
    return name in ENDS and entry.dtype == source


def _short_row_types(base: str) -> frozenset[str]:
    """Types that a row too short for blocks of 256 may have in a file of BASE: those that its mixture falls back to."""
    if base not in MIXTURES:
        return SHORT_ROWS
    return frozenset().union(*(FALLBACKS.get(one, frozenset()) for one in MIXTURES[base]))


def _cause(found: str, source: str, label: str) -> str:
    if found in ("F32", "F64") and source != found:
        return "silent fall-back to a wider float"
    if base_type(label) in FLOATS:
        return "quantised without being asked" if found not in FLOATS else "another float type than declared"
    if found in FLOATS:
        return f"silent fall-back: left unquantised in a file of {label}"
    return f"a type that files of {label} do not mix"
