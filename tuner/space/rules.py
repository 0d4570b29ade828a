"""Rules between parameters: a line such as `max_num_batched_tokens >= max_num_seqs` in, whether a point keeps it out.

Parsed with `ast` against a whitelist and walked here: nothing of it is ever executed as Python. A rule does not know
which parameters exist; it tells their names.
"""

import ast
import operator
from collections.abc import Callable, Iterator
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tuner.types import Params, Value

_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ALLOWED = (
    *_ARITHMETIC,
    *_COMPARISONS,
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.BinOp,
    ast.Compare,
    ast.Name,
    ast.Attribute,
    ast.Load,
    ast.Constant,
)


class Rule(BaseModel):
    """`require` must hold for a point to be launched; `because` is what the user reads when it does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    require: str = Field(max_length=300)  # long enough for people, too short to overflow the parser
    because: str = Field(min_length=1)

    @field_validator("require")
    @classmethod
    def _is_an_expression(cls, text: str) -> str:
        _parse(text)
        return text

    @cached_property
    def _tree(self) -> ast.expr:
        return _parse(self.require)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parameters that the rule is about, each once, in its order."""
        return tuple(dict.fromkeys(_names(self._tree)))

    def holds(self, point: Params) -> bool:
        """Whether `point` keeps the rule; true when it lacks one of the rule's parameters (vLLM's own default applies).

        Raises TypeError or ZeroDivisionError when it cannot be computed.
        """
        return any(name not in point for name in self.names) or bool(_value(self._tree, point))


def _parse(text: str) -> ast.expr:
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{text!r} is not an expression") from error
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            raise ValueError(
                f"a rule is made of parameters, numbers, strings, + - * / // %, comparisons, and, or, not;"
                f" {text!r} has something else ({type(node).__name__})"
            )
        if isinstance(node, ast.Attribute) and not isinstance(node.value, ast.Name | ast.Attribute):
            raise ValueError(
                f"a dot stands in a parameter's name alone, such as compilation_config.mode, not in {text!r}"
            )
        if isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str):
            raise ValueError(f"a rule cannot use the value {node.value!r}")
    return tree.body


def _names(node: ast.AST) -> Iterator[str]:
    """The parameters in `node`, in their order; a dotted one is one."""
    if isinstance(node, ast.Name | ast.Attribute):
        yield _name(node)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _names(child)


def _name(node: ast.expr) -> str:
    """`a.b` of the nodes that stand for it, which _parse has checked."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    assert isinstance(node, ast.Name)
    return node.id


def _value(node: ast.expr, point: Params) -> Value:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.Name() | ast.Attribute():
            return point[_name(node)]
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(value, point) for value in values)
        case ast.BoolOp(values=values):
            return any(_value(value, point) for value in values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _value(operand, point)
        case ast.UnaryOp(operand=operand):
            return -_number(operand, point)
        case ast.BinOp(left=left, op=operation, right=right):
            return _ARITHMETIC[type(operation)](_number(left, point), _number(right, point))
        case ast.Compare(left=left, ops=operations, comparators=comparators):
            sides = [_value(side, point) for side in (left, *comparators)]
            pairs = zip(operations, sides, sides[1:], strict=False)
            return all(_COMPARISONS[type(operation)](one, other) for operation, one, other in pairs)
    raise AssertionError(f"the parser let {ast.dump(node)} through")


def _number(node: ast.expr, point: Params) -> float:
    value = _value(node, point)
    if isinstance(value, str):
        raise TypeError(f"{value!r} is not a number")
    return value
