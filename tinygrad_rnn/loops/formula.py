"""A pointwise op on numbers, as text: what its `number` says when it is run on words."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..caches import remembered
from ..op import Op
from .nodes import Node, Pointwise, Unsupported, Written

if TYPE_CHECKING:
    from .places import Places

OPERATORS = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/",
    operator.floordiv: "//", operator.mod: "%", operator.pow: "**", operator.lt: "<",
    operator.le: "<=", operator.gt: ">", operator.ge: ">=", operator.eq: "==", operator.ne: "!=",
    operator.and_: "&", operator.or_: "|", operator.xor: "^",
}  # fmt: skip
COMPARISONS = {"<", "<=", ">", ">=", "==", "!="}
DEAR = {"//", "%", "**"}  # a division takes less than its result does to memory and back


class Word:
    """A number of a text: what is done to it is written down, once."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str, sign: str = "", value: Any = None):
        self.text, self.sign, self.value = text, sign, value  # the value of a constant

    def __neg__(self) -> Word:
        return self.written("-", f"-{self.text}")

    def __abs__(self) -> Word:
        return self.written("|", f"abs({self.text})")

    def __bool__(self) -> bool:
        raise TypeError("a word is neither true nor false")

    def written(self, sign: str, text: str, *others: Any) -> Word:
        if any(x.__class__ is not Word or x.sign for x in (self, *others)):
            raise TypeError("more than one operator")
        return Word(text, sign)


def _operator(do: Any, sign: str) -> Any:
    def spell(x: Any, y: Any) -> Any:
        if x.value is not None and y.__class__ is not Word:
            return do(x.value, y)
        return x.written(sign, f"{x.text} {sign} {getattr(y, 'text', '')}", y)

    return spell


for _do, _sign in OPERATORS.items():
    setattr(Word, f"__{_do.__name__.strip('_')}__", _operator(_do, _sign))


def number_of(op: Op) -> Any:
    return op.declared.number or op.body


def spelled(op: Op, inputs: Sequence[Word]) -> Word | None:
    """An op of the library's that is a single operator, or nothing but a cast; None of others."""
    if not op.ours:
        return None
    try:
        made = number_of(op)(*inputs, **dict.fromkeys(op.attributes))
    except Exception:  # it branches, or calls something
        return None
    return made if made.__class__ is Word else None


@remembered(1024)
def is_cheap(op: Op) -> bool:
    """Whether to recompute it costs less than to keep it."""
    word = spelled(op, [Word(f"x{k}") for k in range(op.arity)])
    return op.declared.cheap or (word is not None and word.sign not in DEAR)


def cheap(node: Node) -> bool:
    return isinstance(node, Pointwise) and is_cheap(node.op)


def formula(places: Places, node: Pointwise, inputs: list[str]) -> str:
    """One op on numbers, as text: an operator, or a call of its `number`.

    Numbers are given the dtype that NumPy gives them beside each other, and so is the answer where
    the formula's is another: Numba keeps no narrow integer narrow, and somebody else's op may give
    anything.
    """
    op, dtype = node.op, node.dtype
    if dtype not in KINDS or any(x.dtype not in KINDS for x in node.inputs):
        raise Unsupported(f"{op.name} of {dtype}")
    dtypes = {x.dtype for x in node.inputs}
    whole = any(d.kind in "iu" for d in dtypes) or all(d.kind == "b" for d in dtypes)
    if whole and not op.ours and dtypes | {dtype} != {np.dtype(np.int64)}:  # NumPy wraps them
        raise Unsupported(f"{op.name}, an op of your own, of whole numbers,")
    real = dtype.kind == "f"
    company = [k for k, counts in enumerate(op.company(len(inputs))) if counts]
    kind = dtype if real else np.result_type(*[node.inputs[k].dtype for k in company])
    values = [x.value if isinstance(x, Written) else None for x in node.inputs]
    for k in company:
        if real and node.inputs[k].dtype != dtype:
            inputs[k] = f"{KINDS[dtype]}({inputs[k]})"
    word = spelled(op, [Word(x, "", v) for x, v in zip(inputs, values, strict=True)])
    sign = "" if word is None else word.sign
    if LARGEST in dtypes | {dtype} and _is_wrong(dtypes, dtype, sign):
        raise Unsupported(f"{op.name} of uint64 and others")
    if word is not None:
        line = word.text
    else:
        source = node.source if node.source is not None and node.source.op is op else None
        attrs = {} if source is None else source.attrs
        for k in company:  # a function of numbers is compiled for one kind
            if not real and node.inputs[k].dtype != kind:
                inputs[k] = f"{KINDS[kind]}({inputs[k]})"
        words = [*inputs, *(f"{name}={constant(value, kind)}" for name, value in attrs.items())]
        line = f"{places.called_name(op, kind)}({', '.join(words)})"
    whole = all(node.inputs[k].dtype == dtype for k in company) and dtype == np.int64
    compared = sign in COMPARISONS
    asked = compared and all(node.inputs[k].dtype.kind != "b" for k in company)
    cast = not op.ours or not (real or whole or asked)
    if cast and dtype in WIDER and any(x.dtype.kind == "f" for x in node.inputs):
        line = f"{WIDER[dtype]}({line})"
    return f"{KINDS[dtype]}({line})" if cast else line


def _is_wrong(dtypes: set[np.dtype], dtype: np.dtype, sign: str) -> bool:
    """Whether Numba would take uint64 for a float or a signed number, as NumPy does not."""
    signed, real = (any(d.kind == kind for d in dtypes) for kind in "if")
    compared, rest = sign in COMPARISONS and signed, sign == "%" and len(dtypes) > 1
    return compared or rest or (dtype == LARGEST and real)


def constant(value: Any, dtype: np.dtype) -> str:
    """An attribute as text: a number with a point takes the dtype of the numbers beside it."""
    return literal(value, dtype) if type(value) is float and dtype.kind == "f" else repr(value)


def literal(value: Any, dtype: np.dtype) -> str:
    if dtype.kind == "b":
        return str(bool(value))
    if dtype.kind in "iu":
        return str(int(value)) if dtype == np.int64 else f"{KINDS[dtype]}({int(value)})"
    word = repr(float(value)).removesuffix(".0")
    word = f"np.{word}" if word.lstrip("-") in ("inf", "nan") else word
    word = word.replace("np.-inf", "-np.inf")
    return f"{REALS[dtype]}({word})"


REALS = {np.dtype(np.float32): "f32", np.dtype(np.float64): "f64"}
WHOLE = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
LARGEST = np.dtype(np.uint64)
# By way of what a float that has no room is made whole, so that the rest wraps as in NumPy.
WIDER: dict[Any, str] = {
    np.dtype(n): "np.int64" if n == "uint32" else "np.int32"
    for n in ("int8", "int16", "uint8", "uint16", "uint32")
}
KINDS: dict[Any, str] = {
    **REALS,
    **{np.dtype(n): f"np.{n}" for n in WHOLE},
    np.dtype(np.bool_): "np.bool_",
}
