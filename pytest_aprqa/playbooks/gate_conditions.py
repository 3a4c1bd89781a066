"""Conditions of `falsification_gates`, such as `crashes == 0 and output.length > 0`; read as data, never run as code.

Known are names of facts, numbers, the words of WORDS, + - * / and comparisons joined by and, or (also && and ||).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass

from pytest_aprqa.playbooks.errors import PlaybookError

Value = float | str
WORDS = ("ok", "failed", "valid", "invalid")
LONGEST = 500  # characters of a condition
_COMPARE: dict[type, Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_COMBINE: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, slots=True)
class GateCondition:
    """A condition that was understood. `names`: the facts that it needs, sorted."""

    text: str
    names: tuple[str, ...]
    tree: ast.expr

    def holds(self, facts: Callable[[str], Value]) -> bool:
        """Whether it holds. PlaybookError: a text is compared with a number, or something is divided by zero."""
        return _truth(self, self.tree, facts)


def parse_gate_condition(text: str) -> GateCondition:
    """PlaybookError says what has no meaning."""
    if len(text) > LONGEST:
        raise _refused(text[:40], f"it has {len(text)} characters, limit {LONGEST}")
    try:
        tree = ast.parse(text.strip().replace("&&", " and ").replace("||", " or "), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise _refused(text, "write a comparison, such as output.length > 0") from None
    names: set[str] = set()
    _check_truth(text, tree, names)
    return GateCondition(text, tuple(sorted(names)), tree)


def _check_truth(text: str, node: ast.expr, names: set[str]) -> None:
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            _check_truth(text, value, names)
    elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARE:
        _check_value(text, node.left, names)
        _check_value(text, node.comparators[0], names)
    else:
        raise _refused(text, f"`{ast.unparse(node)}` is no comparison")


def _check_value(text: str, node: ast.expr, names: set[str]) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _COMBINE:
        _check_value(text, node.left, names)
        _check_value(text, node.right, names)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return
    elif (name := _name_of(node)) is not None:
        names.update({name} - set(WORDS))
    else:
        raise _refused(text, f"`{ast.unparse(node)}` is neither a number nor a fact")


def _name_of(node: ast.expr) -> str | None:
    """`cpu.tokens_per_second` of nested attributes."""
    if isinstance(node, ast.Attribute):
        base = _name_of(node.value)
        return f"{base}.{node.attr}" if base is not None else None
    return node.id if isinstance(node, ast.Name) else None


def _truth(condition: GateCondition, node: ast.expr, facts: Callable[[str], Value]) -> bool:
    if isinstance(node, ast.BoolOp):
        told = [_truth(condition, value, facts) for value in node.values]
        return all(told) if isinstance(node.op, ast.And) else any(told)
    assert isinstance(node, ast.Compare)
    left, right = (_value(condition, one, facts) for one in (node.left, node.comparators[0]))
    compare = _COMPARE[type(node.ops[0])]
    equality = isinstance(node.ops[0], ast.Eq | ast.NotEq)
    if isinstance(left, str) != isinstance(right, str) or (isinstance(left, str) and not equality):
        raise _refused(condition.text, f"{left!r} cannot be compared with {right!r} so")
    return compare(left, right)


def _value(condition: GateCondition, node: ast.expr, facts: Callable[[str], Value]) -> Value:
    if isinstance(node, ast.BinOp):
        left, right = (_value(condition, one, facts) for one in (node.left, node.right))
        if isinstance(left, str) or isinstance(right, str):
            raise _refused(condition.text, "texts are not added or multiplied")
        if isinstance(node.op, ast.Div) and not right:
            raise _refused(condition.text, f"`{ast.unparse(node.right)}` is 0")
        return _COMBINE[type(node.op)](left, right)
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        return float(node.value)
    name = _name_of(node)
    assert name is not None
    return name if name in WORDS else facts(name)


def _refused(text: str, why: str) -> PlaybookError:
    return PlaybookError("falsification_gates.condition", f"`{text}` has no meaning: {why}")
