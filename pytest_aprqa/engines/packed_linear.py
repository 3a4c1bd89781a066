"""Linear layers in bfloat16 whose weights are laid out once for the processor's matrix product, not at each step."""

from __future__ import annotations

from typing import Any

import torch

ROWS = 16  # of a usual batch; the layout serves any number


class PackedLinear(torch.nn.Module):  # type: ignore[misc]
    """In place of a `torch.nn.Linear`: [..., in] -> [..., out] in bfloat16. The packed weight is no parameter."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS)
        self._bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """The same product with another order of sums."""
        product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(values, self._packed, self._bias, "none", [], "")
        return product


def pack_linears(model: Any) -> int:
    """Replace the linear layers of a bfloat16 model on the CPU, one after the other; how many. 0 where torch cannot.

    A head that shares its weight with the embedding is in memory twice then: the largest product of each step takes
    less than half of the time.
    """
    if not _available():
        return 0
    names = [name for name, module in model.named_modules() if _can_be_packed(module)]
    for name in names:  # no list of the layers: each old one is let go before the next one is packed
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, PackedLinear(model.get_submodule(name)))
    return len(names)


def _can_be_packed(module: Any) -> bool:
    return type(module) is torch.nn.Linear and module.weight.dtype == torch.bfloat16


def _available() -> bool:
    """Whether this torch and this processor have the product; the operators are the ones that its compiler uses."""
    names = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise")
    if not torch.backends.mkldnn.is_available() or not all(hasattr(torch.ops.mkldnn, name) for name in names):
        return False
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
