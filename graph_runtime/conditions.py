"""Conditions of policies: CEL over the facts of a request, with every number a decimal.

CEL knows doubles, and 50.01 is none. Here each number of an expression or a fact, and each text that is one,
is compared and reckoned with as an exact decimal. Whatever cannot be answered raises: unknown is a no.
"""

from __future__ import annotations

import datetime as dt
import decimal
import operator
import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

import celpy
import lark
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError, Evaluator, base_functions

#: A condition that is longer is a program, and belongs in the graph.
LONGEST = 1_000
_PLAIN = re.compile(r"[+-]?\d{1,40}(\.\d{1,40})?")
#: Sums of money are exact far past what money there is; a quotient is cut here.
_EXACT = decimal.Context(prec=90, traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow])
_MACROS = {"has", "all", "exists", "exists_one", "filter", "map"}


class ConditionError(ValueError):
    """A condition cannot be read, or cannot be answered from these facts. Says which, and why."""


def check(text: str) -> str:
    """Return the condition as it is. Raises :class:`ConditionError` for one that is no CEL."""
    _compiled(text)
    return text


def holds(text: str, facts: Mapping[str, Any]) -> bool:
    """Say whether the condition holds for the facts. Raises :class:`ConditionError` if unknown."""
    program = _compiled(text)
    try:
        with decimal.localcontext(_EXACT):
            given = {name: _value(fact) for name, fact in facts.items() if name.isidentifier()}
            every = celtypes.MapType(
                {celtypes.StringType(name): _value(fact) for name, fact in facts.items()}
            )
            found = program.evaluate({**given, "facts": every})
    except CELEvalError as error:
        raise ConditionError(f"{text!r} could not be answered: {_words(error)}") from None
    except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise ConditionError(f"{text!r} could not be answered: {type(error).__name__}") from None
    if not isinstance(found, bool | celtypes.BoolType):
        raise ConditionError(f"{text!r} is no question: it is neither true nor false")
    return bool(found)


class _Decimals(Evaluator):
    """Reads the numbers of an expression as decimals."""

    def literal(self, tree: lark.Tree[lark.Token]) -> Any:
        token = tree.children[0]
        if isinstance(token, lark.Token) and token.type in {"INT_LIT", "FLOAT_LIT", "UINT_LIT"}:
            digits = token.value.rstrip("uU")
            return Decimal(int(digits, 16)) if "x" in digits.lower() else Decimal(digits)
        return super().literal(tree)


class _Runner(celpy.InterpretedRunner):
    def evaluate(self, context: Any) -> Any:
        return _Decimals(ast=self.ast, activation=self.new_activation()).evaluate(context)


@lru_cache(maxsize=512)
def _compiled(text: str) -> celpy.Runner:
    if not text.strip():
        raise ConditionError("a condition is empty; leave it out where there is none")
    if len(text) > LONGEST:
        raise ConditionError(f"a condition has more than {LONGEST:,} characters")
    try:
        tree = _environment().compile(text)
    except CELParseError as error:
        raise ConditionError(f"{text!r} is no CEL: it cannot be read at column {error.column or 1}") from None
    known = {*base_functions, *_FUNCTIONS, *_MACROS}
    for called in tree.find_pred(lambda node: node.data in {"ident_arg", "member_dot_arg"}):
        name = next(str(child) for child in called.children if isinstance(child, lark.Token))
        if name not in known:
            raise ConditionError(f"{text!r} is no CEL: there is no function {name!r}")
    return _environment().program(tree, functions=cast("Any", _FUNCTIONS))


@lru_cache(maxsize=1)
def _environment() -> celpy.Environment:
    return celpy.Environment(runner_class=_Runner)


def _value(fact: Any) -> Any:
    """Return a fact as CEL has it. What it does not know is text, which equals no number."""
    if fact is None or isinstance(fact, Decimal):
        return fact
    if isinstance(fact, bool):
        return celtypes.BoolType(fact)
    if isinstance(fact, int):
        return Decimal(fact)
    if isinstance(fact, float):
        # The shortest decimal that means this double: what somebody wrote.
        return Decimal(repr(fact))
    if isinstance(fact, Mapping):
        return celtypes.MapType({celtypes.StringType(str(key)): _value(one) for key, one in fact.items()})
    if isinstance(fact, list | tuple | AbstractSet):
        return celtypes.ListType([_value(one) for one in fact])
    if isinstance(fact, dt.datetime) and fact.tzinfo is not None:
        return celtypes.TimestampType(fact)
    return celtypes.StringType(str(fact))


def _number(value: Any) -> Decimal | None:
    """Return the number that a value is, or that a text writes out plainly."""
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, bool | celtypes.BoolType):
        return None
    if isinstance(value, int):
        return Decimal(value)
    return Decimal(str(value)) if isinstance(value, str) and _PLAIN.fullmatch(value) else None


def _passing_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Hand an operand that is an error on, as CEL does, so that ``a || b`` may do without it."""

    def passed(*operands: Any) -> Any:
        return next((one for one in operands if isinstance(one, CELEvalError)), None) or function(*operands)

    return passed


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[..., Any]:
    def ordered(left: Any, right: Any) -> Any:
        one, other = _number(left), _number(right)
        if one is not None and other is not None:
            return celtypes.BoolType(compare(one, other))
        texts = isinstance(left, str) and isinstance(right, str) and one is other
        times = isinstance(left, dt.datetime | dt.timedelta) and isinstance(right, type(left))
        if texts or times:
            return celtypes.BoolType(compare(left, right))
        raise TypeError(f"{_shown(left)} and {_shown(right)} have no order")

    return _passing_errors(ordered)


def _equal(left: Any, right: Any) -> bool:
    texts = isinstance(left, str) and isinstance(right, str)
    one, other = _number(left), _number(right)
    if not texts and one is not None and other is not None:
        return one == other
    if left is None or right is None:
        return left is right
    kinds = (bool | celtypes.BoolType, str, Mapping, list, dt.datetime, dt.timedelta)
    for kind in kinds:
        if isinstance(left, kind) and isinstance(right, kind):
            if isinstance(left, list) and isinstance(right, list):
                return len(left) == len(right) and all(map(_equal, left, right))
            return bool(left == right)
    raise TypeError(f"{_shown(left)} and {_shown(right)} cannot be equal: they are of two kinds")


def _within(item: Any, container: Any) -> Any:
    """Say whether the item is in a list, or a key of a map. One of another kind in a list is not it."""
    if isinstance(container, Mapping):
        return celtypes.BoolType(item in container)
    if not isinstance(container, list):
        raise TypeError(f"{_shown(container)} has nothing in it")
    unlike = False
    for one in container:
        try:
            if _equal(one, item):
                return celtypes.BoolType(True)
        except TypeError:
            unlike = True
    if unlike:
        raise TypeError(f"{_shown(item)} is of another kind than what the list holds")
    return celtypes.BoolType(False)


def _reckoned(sign: str, reckon: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def reckoned(left: Any, right: Any) -> Any:
        one, other = _number(left), _number(right)
        texts = isinstance(left, str) and isinstance(right, str)
        if texts and sign == "+":
            if one is not None and other is not None:
                raise TypeError("two texts that are numbers: write decimal(...) around them")
            return celtypes.StringType(left + right)
        if one is not None and other is not None:
            return reckon(one, other)
        if sign in "+-" and not isinstance(left, str | bool) and not isinstance(right, str | bool):
            return reckon(left, right)  # lists, and times with durations
        raise TypeError(f"{_shown(left)} {sign} {_shown(right)} is no sum")

    return _passing_errors(reckoned)


def _decimal(value: Any) -> Any:
    found = _number(value)
    if found is None:
        raise ValueError(f"{_shown(value)} is no decimal number")
    return found


def _at(container: Any, index: Any) -> Any:
    if isinstance(container, list):
        place = _number(index)
        if place is None or place != int(place) or not 0 <= place < len(container):
            raise IndexError(f"there is no place {_shown(index)} in the list")
        return container[int(place)]
    return container[index]


def _shown(value: Any) -> str:
    return f"{str(value)[:40]!r}" if isinstance(value, str) else str(value)[:40]


def _words(error: CELEvalError) -> str:
    """Return the innermost words of an error of the library, without its classes."""
    cause: BaseException | None = error
    while cause is not None and cause.__cause__ is not None:
        cause = cause.__cause__
    said = cause.args[0] if cause is not None and cause.args else ""
    if not isinstance(said, str) or not said:
        return "it cannot be reckoned"  # an arithmetic error names classes
    known = re.match(r"undeclared reference to '(\w+)'", said)
    return f"there is no fact {known[1]!r}" if known else said


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "_<_": _ordered(operator.lt),
    "_<=_": _ordered(operator.le),
    "_>_": _ordered(operator.gt),
    "_>=_": _ordered(operator.ge),
    "_==_": _passing_errors(lambda left, right: celtypes.BoolType(_equal(left, right))),
    "_!=_": _passing_errors(lambda left, right: celtypes.BoolType(not _equal(left, right))),
    "_in_": _passing_errors(_within),
    "_+_": _reckoned("+", operator.add),
    "_-_": _reckoned("-", operator.sub),
    "_*_": _reckoned("*", operator.mul),
    "_/_": _reckoned("/", operator.truediv),
    "_%_": _reckoned("%", operator.mod),
    "-_": _passing_errors(lambda value: -_decimal(value)),
    "_[_]": _passing_errors(_at),
    "size": _passing_errors(lambda value: Decimal(len(value))),
    "decimal": _passing_errors(_decimal),
    "int": _passing_errors(lambda value: Decimal(int(_decimal(value)))),
    "double": _passing_errors(_decimal),
    "string": _passing_errors(lambda value: celtypes.StringType(str(value))),
}
