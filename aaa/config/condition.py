"""A condition on named values, such as `aesthetic > 5 and width >= 256`: read by a whitelist, never run by Python.

What is missing is unknown, as in SQL: a comparison with it is neither true nor false, and a condition holds only where
it is true whatever the missing value may be.
"""

import ast
import io
import operator
import re
import tokenize
import unicodedata
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import lru_cache
from keyword import iskeyword
from numbers import Integral, Real
from typing import Any, NamedTuple

from aaa.encoders.prompts import normalised
from aaa.errors import UserError

MAX_LETTERS = 10_000
MAX_DEPTH = 50  # of parentheses and the like within each other
NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?inf(?:inity)?", re.IGNORECASE)
TRUTHS = {"true": True, "false": False}
COMPARISONS: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
INSTEAD: dict[type, str] = {
    ast.BitAnd: "write `and` for `&`",
    ast.BitOr: "write `or` for `|`",
    ast.Invert: "write `not` for `~`",
}

Values = Callable[[str], Any]  # what there is under a name; None where it is missing
Truth = Callable[[Values], bool | None]


class UnfitValue(Exception):  # noqa: N818 - says what, as NotFinite
    """A value that is there, and cannot be compared as a condition wants it."""


class _Operand(NamedTuple):
    """What is compared.

    Attributes:
        kind: `number`, `text`, `truth`, or `value`: of a name, which may be any of these.
        of: what it is; None where something is missing.
        shown: as it was written.
        constant: its value where it was written down; else None.
    """

    kind: str
    of: Callable[[Values], Any]
    shown: str
    constant: Any = None


class Condition:
    """A condition on named values.

    Names, numbers, quoted texts, `True` and `False`; `+ - * /`; `len(name)` of a text or list; comparisons, chained
    too; `in [...]`, `"text" in name`, `is None`; `and`, `or`, `not` and parentheses mean what they mean in Python.
    Beyond that, a text that reads as a number is one where it is compared with one: a CSV has nothing but texts.

    Args:
        text: of it.
        key: of the config, for messages.

    Attributes:
        text, key: as they were given.
        names: that it asks for, in order.

    Raises:
        UserError: if it is anything else.
    """

    def __init__(self, text: str, key: str) -> None:
        self.text, self.key = re.sub(r"[\r\n\f]+", " ", text).strip(), key
        self.names: list[str] = []
        self._truth = self._condition(self._parsed(), 0)
        if not self.names:
            raise self._error("names nothing that differs between records, such as `aesthetic > 5`")

    def __call__(self, values: Values) -> bool | None:
        """Whether it holds; None where that hangs on something that is missing.

        Raises:
            UnfitValue: if a value is there, and is no number (or text, or truth) where it has to be.
        """
        return self._truth(values)

    def _parsed(self) -> ast.expr:
        if len(self.text) > MAX_LETTERS:
            raise UserError(f"{self.key}: {len(self.text)} letters; {MAX_LETTERS} at most.")
        if (comment := _comment(self.text)) is not None:  # lines are one by now, and YAML may have made them one before
            raise self._error(f"`#` would leave out all that follows ({_told(comment)}); write it without comments")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of backslashes in texts
                return ast.parse(self.text, mode="eval").body
        except SyntaxError as error:
            at = f" at {_told(rest)}" if (rest := (error.text or "")[(error.offset or 1) - 1 :].strip()) else ""
            raise self._error(f"cannot be read{at}: {error.msg}") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._error(f"cannot be read: {str(error) or 'too deeply nested'}") from None

    def _error(self, why: str) -> UserError:
        text = self.text if len(self.text) <= 200 else f"{self.text[:200]}..."
        return UserError(
            f"{self.key}={text}: {why}. A condition is of columns, numbers, quoted texts, comparisons, and, or, not: "
            '\'aesthetic > 5 and style in ["photo", "drawing"]\''
        )

    def _refused(self, node: ast.AST) -> UserError:
        written = self._shown(node)
        if isinstance(node, ast.Attribute):
            return self._error(f"`{written}` has a dot in it; a column of this name is written `{as_name(written)}`")
        instead = INSTEAD.get(type(getattr(node, "op", None)))
        return self._error(instead or f"`{written}` is not for conditions")

    def _shown(self, node: ast.AST) -> str:
        begin, end = (getattr(node, f"{side}col_offset", 0) for side in ("", "end_"))  # all is on one line
        written = self.text.encode()[begin:end].decode()
        return written if len(written) <= 60 else f"{written[:60]}..."

    def _condition(self, node: ast.expr, depth: int) -> Truth:
        self._require_shallow(depth)
        match node:
            case ast.BoolOp(op=op, values=parts):
                inner = [self._condition(part, depth + 1) for part in parts]
                return _all_of(inner) if isinstance(op, ast.And) else _any_of(inner)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return _not(self._condition(part, depth + 1))
            case ast.Compare():
                return self._comparison(node, depth)
            case ast.Name() | ast.Constant(value=True) | ast.Constant(value=False):
                operand = self._operand(node, depth)
                return lambda values: _truth(operand.of(values), operand.shown)
            case ast.Constant() | ast.BinOp(op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div()) | ast.UnaryOp():
                self._operand(node, depth)  # says what else is wrong with it
                raise self._error(f"`{self._shown(node)}` is neither true nor false")
        raise self._refused(node)

    def _require_shallow(self, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._error(f"goes more than {MAX_DEPTH} levels deep")

    def _comparison(self, node: ast.Compare, depth: int) -> Truth:
        sides = [node.left, *node.comparators]
        pairs = []
        for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
            match op:
                case ast.Is() | ast.IsNot():
                    pairs.append(self._presence(op, left, right, depth))
                case ast.In() | ast.NotIn():
                    found = self._membership(left, right, depth)
                    pairs.append(found if isinstance(op, ast.In) else _not(found))
                case _:
                    pairs.append(self._compared(op, left, right, depth))
        return pairs[0] if len(pairs) == 1 else _all_of(pairs)

    def _presence(self, op: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Truth:
        if not isinstance(left, ast.Name) or not isinstance(right, ast.Constant) or right.value is not None:
            raise self._error("`is` is for `NAME is None` and `NAME is not None`, which ask whether a value is missing")
        operand, wanted = self._operand(left, depth), isinstance(op, ast.Is)
        return lambda values: (operand.of(values) is None) is wanted

    def _membership(self, left: ast.expr, right: ast.expr, depth: int) -> Truth:
        one = self._operand(left, depth + 1)
        if isinstance(right, ast.Name):
            if one.kind != "text":
                raise self._error(f"`{one.shown} in {right.id}`: only whether a quoted text is in it can be asked")
            within = self._operand(right, depth + 1)
            return lambda values: _contains(within.of(values), one.constant, within.shown)
        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
            raise self._error("after `in` there must be a list, such as [1, 2], or a name")
        listed = [self._operand(part, depth + 1) for part in right.elts]
        if any(part.constant is None for part in listed):
            raise self._error(f"`{self._shown(right)}`: only numbers and quoted texts can be listed")
        return _any_of([self._of_two(operator.eq, one, part) for part in listed])

    def _compared(self, op: ast.cmpop, left: ast.expr, right: ast.expr, depth: int) -> Truth:
        one, other = (self._operand(side, depth + 1) for side in (left, right))
        is_order = not isinstance(op, ast.Eq | ast.NotEq)
        for side in (one, other):
            if is_order and side.kind == "truth":
                raise self._error(f"`{side.shown}` is neither more nor less than anything")
            if is_order and side.kind == "text" and NUMBER.fullmatch(side.constant.strip()):
                raise self._error(f"{side.shown} is a text, by which 10 comes before 9; write it without quotes")
        return self._of_two(COMPARISONS[type(op)], one, other)

    def _of_two(self, compare: Callable[[Any, Any], bool], one: _Operand, other: _Operand) -> Truth:
        kinds = {one.kind, other.kind} - {"value"}
        if len(kinds) > 1:
            raise self._error(f"`{one.shown}` and `{other.shown}` are a {' and a '.join(sorted(kinds))}: never alike")
        read = READ[kinds.pop() if kinds else "value"]

        def truth(values: Values) -> bool | None:
            a, b = one.of(values), other.of(values)
            if a is None or b is None:
                return None
            return compare(*read(a, b, one.shown, other.shown))

        return truth

    def _operand(self, node: ast.expr, depth: int) -> _Operand:
        self._require_shallow(depth)
        shown = self._shown(node)
        match node:
            case ast.Name(id=name):
                if name not in self.names:
                    self.names.append(name)
                return _Operand("value", lambda values: present(values(name)), name)
            case ast.Constant(value=bool(value)):
                return _Operand("truth", lambda _: value, shown, value)
            case ast.Constant(value=int(value) | float(value)):
                return _Operand("number", lambda _: value, shown, value)
            case ast.Constant(value=str(value)):
                value = normalised(value)
                if present(value) is None:
                    raise self._error(
                        f"{shown} is a missing value, which nothing is equal to; `NAME is None` asks for it"
                    )
                return _Operand("text", lambda _: value, shown, value)
            case ast.Constant(value=None):
                raise self._error("nothing is equal to None; `NAME is None` asks whether a value is missing")
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=part):
                return self._signed(op, self._number(part, depth), shown)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in ARITHMETIC:
                sides = self._number(left, depth), self._number(right, depth)
                return _Operand("number", _computed(ARITHMETIC[type(op)], *sides, shown), shown)
            case ast.Call(func=ast.Name(id="len"), args=[ast.Name() as part], keywords=[]):
                inner = self._operand(part, depth + 1)
                return _Operand("number", lambda values: _length(inner.of(values), inner.shown), shown)
        raise self._refused(node)

    def _number(self, node: ast.expr, depth: int) -> _Operand:
        operand = self._operand(node, depth + 1)
        if operand.kind not in ("number", "value"):
            raise self._error(f"`{operand.shown}` is no number to compute with")
        return operand

    @staticmethod
    def _signed(op: ast.unaryop, inner: _Operand, shown: str) -> _Operand:
        sign = -1 if isinstance(op, ast.USub) else 1

        def of(values: Values) -> Any:
            value = inner.of(values)
            return None if value is None else sign * _as_number(value, inner.shown)

        return _Operand("number", of, shown, None if inner.constant is None else sign * inner.constant)


@lru_cache(4096)
def as_name(column: str) -> str:
    """What a column is called in a condition: `Image Width` is `Image_Width`, `clip.score` `clip_score`, `class`
    `class_`, `2d` `_2d`."""
    name = re.sub(r"\W", "_", unicodedata.normalize("NFKC", column.strip()))
    return f"{name}_" if iskeyword(name) else f"_{name}" if name[:1].isdecimal() else name


def present(value: Any) -> Any:
    """A value, or None where nothing is meant: None, NaN, and of texts those of blanks alone and `nan`.

    Texts are in the form that prompts have in a cache, whichever the table was saved in; dates are texts as a CSV has
    them, and what is numpy's is what Python has.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str):
        return None if value.strip().lower() in ("", "nan") else normalised(value)
    if isinstance(value, list | tuple):
        return [normalised(one) if isinstance(one, str) else one for one in value]
    if isinstance(value, Real | Decimal | date) and value != value:  # NaN, of whatever type, and pandas' NaT
        return None
    return str(value) if isinstance(value, date) else value


def column_called(name: str, columns: Sequence[str]) -> list[str]:
    """The columns that a name may mean: the one that is called so, or those whose `as_name` it is."""
    return [name] if name in columns else [column for column in columns if as_name(column) == name]


def _all_of(parts: Sequence[Truth]) -> Truth:
    def truth(values: Values) -> bool | None:
        known = True
        for part in parts:
            found = part(values)
            if found is False:
                return False
            known = known and found is not None
        return True if known else None

    return truth


def _any_of(parts: Sequence[Truth]) -> Truth:
    def truth(values: Values) -> bool | None:
        known = True
        for part in parts:
            found = part(values)
            if found:
                return True
            known = known and found is not None
        return False if known else None

    return truth


def _not(part: Truth) -> Truth:
    def truth(values: Values) -> bool | None:
        found = part(values)
        return None if found is None else not found

    return truth


def _computed(
    compute: Callable[[Any, Any], Any], one: _Operand, other: _Operand, shown: str
) -> Callable[[Values], Any]:
    def of(values: Values) -> Any:
        a, b = one.of(values), other.of(values)
        if a is None or b is None:
            return None
        try:
            return present(compute(_as_number(a, one.shown), _as_number(b, other.shown)))
        except ArithmeticError as error:
            raise UnfitValue(f"`{shown}` cannot be computed ({error})") from None

    return of


def _contains(value: Any, text: str, name: str) -> bool | None:
    if value is None:
        return None
    if not isinstance(value, str | list | tuple):
        raise UnfitValue(f"{name} is {_told(value)}, neither a text nor a list")
    return text in value


def _length(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str | list | tuple):
        raise UnfitValue(f"{name} is {_told(value)}, which has no length")
    return len(value)


def _truth(value: Any, name: str) -> bool | None:
    """A value as true or false: also 1 and 0, and as texts, which is how pandas writes them into a CSV."""
    if value is None:
        return None
    read = value.strip().lower() if isinstance(value, str) else value
    found = TRUTHS.get(read) if isinstance(read, str) else None
    if found is None and (number := _number_or_none(read)) in (0, 1):
        found = number == 1
    if found is None:
        raise UnfitValue(f"{name} is {_told(value)}, neither true nor false")
    return found


def _number_or_none(value: Any) -> int | float | None:
    if isinstance(value, str):
        match = NUMBER.fullmatch(value.strip())
        if match is None:
            return None
        try:
            return int(value)
        except ValueError:  # it has a point, or thousands of digits
            return float(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real | Decimal) else None


def _as_number(value: Any, name: str) -> int | float:
    if (number := _number_or_none(value)) is None:
        raise UnfitValue(f"{name} is {_told(value)}, no number")
    return number


def _as_text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise UnfitValue(f"{name} is {_told(value)}, no text")
    return value


def _two_numbers(one: Any, other: Any, *names: str) -> tuple[Any, Any]:
    return _as_number(one, names[0]), _as_number(other, names[1])


def _two_texts(one: Any, other: Any, *names: str) -> tuple[Any, Any]:
    return _as_text(one, names[0]), _as_text(other, names[1])


def _two_truths(one: Any, other: Any, *names: str) -> tuple[Any, Any]:
    return _truth(one, names[0]), _truth(other, names[1])


def _two_values(one: Any, other: Any, *names: str) -> tuple[Any, Any]:
    """Two numbers if both are, else two texts."""
    numbers = _number_or_none(one), _number_or_none(other)
    return _two_texts(one, other, *names) if None in numbers else numbers


READ: Mapping[str, Callable[..., tuple[Any, Any]]] = {
    "number": _two_numbers,
    "text": _two_texts,
    "truth": _two_truths,
    "value": _two_values,
}


def _comment(text: str) -> str | None:
    """What Python would pass over at the end of a line; None where there is no such thing."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                return token.string
    except (tokenize.TokenError, SyntaxError):  # parsing says what is wrong
        pass
    return None


def _told(value: Any) -> str:
    told = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return told if len(told) <= 60 else f"{told[:60]}..."
