"""Small composable operations on the tensors of a copied artifact. Names are Hugging Face names in every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_aprqa.defects.errors import DefectNotApplicableError
from pytest_aprqa.defects.stored_tensors import (
    StoredTensor,
    Tensors,
    change_tensors,
    change_values,
    layer_count,
    stored_name,
    weight_file,
)
from pytest_aprqa.formats import codecs

Operation = Callable[[Path], None]
Floats = NDArray[np.float32]

EMBEDDING = "model.embed_tokens.weight"
HEAD = "lm_head.weight"


def together(*operations: Operation) -> Operation:
    """Apply `operations` one after the other."""

    def apply(path: Path) -> None:
        for operation in operations:
            operation(path)

    return apply


def in_every_layer(pattern: str, operation: Callable[[str], Operation]) -> Operation:
    """Apply `operation(name)` to `pattern` (with `{layer}`) of every layer."""

    def apply(path: Path) -> None:
        for layer in range(layer_count(path)):
            operation(pattern.format(layer=layer))(path)

    return apply


def put_value(name: str, value: float) -> Operation:
    """Write `value` (NaN, Inf, ...) into the middle element of a tensor."""

    def change(values: Floats) -> Floats:
        values.reshape(-1)[values.size // 2] = value
        return values

    return lambda path: change_values(path, name, change)


def zero(name: str) -> Operation:
    """Set every element of a tensor to zero."""
    return lambda path: change_values(path, name, np.zeros_like)


def scale(name: str, factor: float) -> Operation:
    """Multiply every element of a tensor."""
    return lambda path: change_values(path, name, lambda values: values * np.float32(factor))


def scale_by_root_of_width(name: str) -> Operation:
    """Multiply a matrix by the square root of its row length."""
    return lambda path: change_values(path, name, lambda values: values * np.float32(values.shape[1] ** 0.5))


def add_to(name: str, amount: float) -> Operation:
    """Add `amount` to every element of a tensor."""
    return lambda path: change_values(path, name, lambda values: values + np.float32(amount))


def append_average_rows(name: str, count: int) -> Operation:
    """Add `count` rows to a matrix, each the average of the others."""

    def change(tensor: StoredTensor) -> StoredTensor:
        values = tensor.values()
        return tensor.with_values(np.concatenate([values, np.repeat(values.mean(0, keepdims=True), count, 0)]))

    return _on_tensor(name, change)


def pass_through(name: str, dtype: str) -> Operation:
    """Round the values as `dtype` does and store them in the type they had: the loss stays, the label is gone."""

    def change(values: Floats) -> Floats:
        try:
            raw = np.frombuffer(codecs.encode(dtype, values), dtype=np.uint8)
        except ValueError as error:
            raise DefectNotApplicableError(name, f"round as {dtype} does", str(error)) from None
        return np.array(codecs.decode(dtype, raw, values.shape))

    return lambda path: change_values(path, name, change)


def roll_rows(name: str, shift: int) -> Operation:
    """Move every row of a matrix by `shift` places, the last ones to the front."""
    return lambda path: change_values(path, name, lambda values: np.roll(values, shift, axis=0))


def interleave_rows(name: str, heads: Callable[[Path], int]) -> Operation:
    """Reorder the rows of each head as if they were (or were not) stored in the other rotary convention."""

    def apply(path: Path) -> None:
        count = heads(path)

        def change(values: Floats) -> Floats:
            rows = values.reshape(count, 2, -1, *values.shape[1:])
            return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(values.shape)

        change_values(path, name, change)

    return apply


def transpose(name: str) -> Operation:
    """Store a matrix transposed: shape and bytes, as an importer does that forgets (or repeats) the transposition."""
    return _on_tensor(name, lambda tensor: tensor.with_values(np.ascontiguousarray(tensor.values().T)))


def convert(name: str, dtype: str) -> Operation:
    """Store a tensor in another element type than the one that was asked for."""

    def change(tensor: StoredTensor) -> StoredTensor:
        if tensor.dtype == dtype:
            raise DefectNotApplicableError(name, f"convert to {dtype}", "the tensor has this type already")
        try:
            return replace(tensor, dtype=dtype).with_values(tensor.values())
        except ValueError as error:
            raise DefectNotApplicableError(name, f"convert to {dtype}", str(error)) from None

    return _on_tensor(name, change)


def drop(name: str) -> Operation:
    """Leave a tensor out of the file (and of the shard index)."""

    def change(tensors: Tensors, stored: str) -> Tensors:
        return {key: tensor for key, tensor in tensors.items() if key != stored}

    return _on_file(name, change)


def rename(name: str, new_name: str) -> Operation:
    """Store a tensor under another name."""

    def change(tensors: Tensors, stored: str) -> Tensors:
        return {new_name if key == stored else key: tensor for key, tensor in tensors.items()}

    return _on_file(name, change)


def duplicate(name: str, new_name: str) -> Operation:
    """Store a second copy of a tensor under a name that the family does not know."""

    def change(tensors: Tensors, stored: str) -> Tensors:
        return {**tensors, new_name: tensors[stored]}

    return _on_file(name, change)


def swap(first: str, second: str) -> Operation:
    """Exchange the bytes of two tensors of one shape."""

    def apply(path: Path) -> None:
        names = stored_name(path, first), stored_name(path, second)
        files = [weight_file(path, name) for name in names]
        if files[0] != files[1]:
            raise DefectNotApplicableError(path, "swap", "the two tensors are in different shards")

        def change(tensors: Tensors) -> Tensors:
            one, other = (tensors[name] for name in names)
            if (one.dtype, one.shape) != (other.dtype, other.shape):
                raise DefectNotApplicableError(path, "swap", "the two tensors differ in type or shape")
            return {**tensors, names[0]: other, names[1]: one}

        change_tensors(path, change, holding=names[0])

    return apply


def swap_layers(pattern: str) -> Operation:
    """Exchange the tensor `pattern` (with `{layer}`) of the first and the last layer."""

    def apply(path: Path) -> None:
        last = layer_count(path) - 1
        if last < 1:
            raise DefectNotApplicableError(path, "swap layers", "the model has a single layer")
        swap(pattern.format(layer=0), pattern.format(layer=last))(path)

    return apply


def _on_tensor(name: str, change: Callable[[StoredTensor], StoredTensor]) -> Operation:
    return _on_file(name, lambda tensors, stored: {**tensors, stored: change(tensors[stored])})


def _on_file(name: str, change: Callable[[Tensors, str], Tensors]) -> Operation:
    def apply(path: Path) -> None:
        stored = stored_name(path, name)
        change_tensors(path, lambda tensors: change(tensors, stored), holding=stored)

    return apply
