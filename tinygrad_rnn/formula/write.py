"""Formulas written down: as text, which can be read back, as LaTeX, and as MathML.

In a text `A B` is a product of matrices (of numbers, if one is a number), ⊙ that of elements, ᵀ
turns rows into columns, [c ? x : y] is x where c holds, else y, [c] is 1 where c holds, else 0,
[x, y] are blocks side by side, and Σ_batch and Σ_j add up over the first and the last axis.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape
from typing import Any

import numpy as np

from ..op import Op, pick
from ..ops import arithmetic as ar
from ..ops import linear, reduce, shape
from .term import Call, Number, Product, Sum, Symbol, Term

ANY, SUM, PRODUCT, TOTAL, MATRIX, ATOM = range(6)  # how tightly a formula holds together
COMPARISONS = (ar.less, ar.less_equal, ar.greater, ar.greater_equal, ar.equal, ar.not_equal)


def word(op: Op) -> str:
    """What an op is called in a formula."""
    return op.name if op is reduce.sum else before_bracket(op.declared.sign or "", op.name)


def before_bracket(sign: str, name: str) -> str:
    """The sign of an op, if it is a word or a symbol that can stand before a bracket; its name."""
    kinds = {unicodedata.category(c) for c in sign.replace("_", "a")}
    symbol = len(sign) == 1 and kinds <= {"Sm", "So"}
    return sign if symbol or (sign and kinds <= {"Ll", "Lu", "Lo", "Nd"}) else name


class Text:
    """A formula as a line of text."""

    TIMES, MINUS, PLUS, COMMA = " ⊙ ", " − ", " + ", ", "

    def __init__(self, first: bool = False):
        """first: whether t is 1."""
        self.first = first

    def __call__(self, x: Term, least: int = ANY) -> str:
        """The formula, in brackets if it holds together less tightly than asked for."""
        words, level = self.form(x)
        return words if level >= least else self.bracket(words)

    def form(self, x: Term) -> tuple[str, int]:
        """What a formula is written as, and how tightly that holds together."""
        if isinstance(x, Symbol):
            return self.symbol(x), ATOM
        if isinstance(x, Number):
            return self.number(x.value), ATOM if x.value >= 0 else SUM
        if isinstance(x, Sum):
            return self.sum(x)
        if isinstance(x, Product):
            return self.product(x, 1.0)
        assert isinstance(x, Call)
        return self.call(x)

    def sum(self, x: Sum) -> tuple[str, int]:
        if len(x.terms) == 1 and x.terms[0][0] > 0:
            return self.product(x.terms[0][1], x.terms[0][0])
        words, first = "", next((k for k, (c, _) in enumerate(x.terms) if c > 0), 0)
        for c, z in (x.terms[first], *x.terms[:first], *x.terms[first + 1 :]):
            sign = (self.MINUS if c < 0 else self.PLUS) if words else "−" * (c < 0)
            words += self.operator(sign) + self.product(z, abs(c), PRODUCT)[0]
        return words, SUM

    def product(self, x: Term, c: float, least: int = ANY) -> tuple[str, int]:
        """A product with a number before it."""
        if isinstance(x, Number):
            return self.number(c), ATOM
        if c == 1 and not isinstance(x, Product):
            words, level = self.form(x)
            return (words, level) if level >= least else (self.bracket(words), ATOM)
        factors = x.factors if isinstance(x, Product) else ((x, 1),)
        over = [self.raised(z, n) for z, n in factors if n > 0]
        under = [self.raised(z, -n) for z, n in factors if n < 0]
        if c != 1:
            whole = round(1 / c) if c and abs(1 / c) < 1e15 else 0
            if over and whole > 1 and 1 / whole == c:
                under.insert(0, self.number(whole))
            elif over:
                over[0] = self.beside(self.number(c), over[0])
            else:
                over.append(self.number(c))
        top = self.operator(self.TIMES).join(over) or self.number(1)
        return (self.ratio(top, under), PRODUCT) if under else (top, PRODUCT)

    def raised(self, x: Term, n: int) -> str:
        return self(x, TOTAL) if n == 1 else self.power(self(x, ATOM), self.number(n))

    def call(self, x: Call) -> tuple[str, int]:
        op, inputs, attrs = x.op, x.inputs, dict(x.attrs)
        if op is linear._matmul:
            return self.beside(self(inputs[0], MATRIX), self(inputs[1], ATOM)), MATRIX
        if op is shape.transpose and attrs["axes"] is None:
            return self.turned(self(inputs[0], ATOM)), ATOM
        if op is reduce.sum and "over" in attrs:
            return self.total(attrs["over"], self(inputs[0], ATOM)), TOTAL
        if op is ar.where:
            return self.where(*map(self, inputs)), ATOM
        if op is ar.power:
            return self.power(*[self(z, ATOM) for z in inputs]), ATOM
        if op in COMPARISONS:
            return self.operator(f" {op.declared.sign} ").join(self(z, SUM) for z in inputs), ANY
        if op is ar.astype and isinstance(inputs[0], Call) and inputs[0].op in COMPARISONS:
            return self.square([self(inputs[0])]), ATOM
        if op is shape._concat and attrs["axis"] in (-1, "last"):
            return self.square(list(map(self, inputs))), ATOM
        if op is shape.take and len(inputs) == 1:
            return self.indexed(self(inputs[0], ATOM), index_words(attrs["index"])), ATOM
        if op is pick:
            return self.indexed(self(inputs[0], ATOM), str(attrs["i"])), ATOM
        name = word(op)
        if len(inputs) == 2 and op.pointwise and not name[0].isalpha():  # a sign of somebody's own
            words = self.operator(f" {name} ").join(self(z, ATOM) for z in inputs)
            return self.bracket(words), ATOM
        return self.function(op, list(map(self, inputs)), self.settings(op, attrs)), ATOM

    def settings(self, op: Op, attrs: dict[str, Any]) -> list[str]:
        known = op.defaults
        if op is shape._split and type(attrs["sections"]) is int:
            return [str(attrs["sections"]), f"axis={setting(attrs['axis'])}"]
        return [
            f"{name}={setting(value)}"
            for name, value in attrs.items()
            if value is not None and (name not in known or known[name] != value)
        ]

    # -- what is written otherwise elsewhere -------------------------------------------------------

    def symbol(self, x: Symbol) -> str:
        block = f"[{x.block}]" * bool(x.block)
        at = self.time(x.at)
        time = f"_{{{at}}}" if len(at) > 1 else "_" * bool(at) + at
        words = f"{plain(x.name)}{time}{block}"
        return {"∂": f"∂L/∂{words}", "∂t": f"∂L_t/∂{words}"}.get(x.mark, x.mark + words)

    def time(self, at: int | None) -> str:
        if at is None or self.first:
            return "" if at is None else str(at + 1).replace("-", "−")
        return f"t{'+' if at > 0 else '−'}{abs(at)}" if at else "t"

    def number(self, value: float) -> str:
        return digits(value)

    def operator(self, sign: str) -> str:
        return sign

    def bracket(self, words: str) -> str:
        return f"({words})"

    def square(self, words: list[str]) -> str:
        return f"[{self.operator(self.COMMA).join(words)}]"

    def beside(self, left: str, right: str) -> str:
        return f"{left} {right}"

    def ratio(self, top: str, under: list[str]) -> str:
        return f"{top} / {under[0] if len(under) == 1 else self.bracket(self.TIMES.join(under))}"

    def power(self, base: str, exponent: str) -> str:
        small = exponent.translate(SUPERSCRIPTS)
        return base + small if exponent in "23456789" else f"{base}^{exponent}"

    def turned(self, words: str) -> str:
        return f"{words}ᵀ"

    def total(self, over: str, words: str) -> str:
        return f"Σ_{over} {words}"

    def where(self, condition: str, x: str, y: str) -> str:
        return f"[{condition} ? {x} : {y}]"

    def indexed(self, words: str, index: str) -> str:
        return f"{words}[{index}]"

    def function(self, op: Op, inputs: list[str], settings: list[str]) -> str:
        return f"{word(op)}({', '.join([*inputs, *settings])})"


SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def digits(value: float) -> str:
    """A number with the fewest digits that tell it from others of its dtype, whole ones as such."""
    if value == round(value) and abs(value) < 1e15:
        return f"{value:.0f}".replace("-", "−")
    short = np.float32(value)
    return str(short if float(short) == value else np.float64(value)).replace("-", "−")


def plain(name: str) -> str:
    """A name as one word."""
    return re.sub(r"[^\w.\u0300-\u036f'-]+", "_", name)


def setting(value: Any) -> str:
    """An attribute's value as it is written in Python."""
    if isinstance(value, tuple) and any(isinstance(v, slice) or v in (None, ...) for v in value):
        return f"[{index_words(value)}]"
    if isinstance(value, tuple) and any(isinstance(v, str) for v in value):
        return f"({', '.join(map(str, value))})"
    if isinstance(value, type | np.dtype):
        return np.dtype(value).name
    return repr(value).replace("-", "−")


def index_words(index: tuple[Any, ...]) -> str:
    """An index as it is written between brackets."""
    one = lambda v: "" if v is None else str(v).replace("-", "−")
    words = []
    for i in index:
        if isinstance(i, slice):
            step = f":{one(i.step)}" if i.step is not None else ""
            words.append(f"{one(i.start)}:{one(i.stop)}{step}")
        else:
            words.append("..." if i is Ellipsis else str(i).replace("-", "−"))
    return ", ".join(words)


# -- LaTeX -----------------------------------------------------------------------------------------

GREEK = {
    **{"σ": "sigma", "δ": "delta", "∂": "partial", "Σ": "sum", "α": "alpha", "β": "beta"},
    **{"γ": "gamma", "ε": "varepsilon", "λ": "lambda", "μ": "mu", "φ": "varphi", "ψ": "psi"},
    **{"θ": "theta", "η": "eta", "κ": "kappa", "ρ": "rho", "τ": "tau", "ω": "omega", "√": "surd"},
}
SIGNS = {"⊙": r"\odot", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "−": "-", "…": r"\dots"}
ACCENTS = {"\u0303": "tilde", "\u0302": "hat", "\u0304": "bar", "\u0307": "dot"}


class Latex(Text):
    """A formula as LaTeX, for a paper's align."""

    def symbol(self, x: Symbol) -> str:
        name, below = latex_name(x.name)
        below += [latex_name(x.block)[0]] if x.block else []
        if x.at is not None:
            below.append(self.time(x.at).replace("−", "-"))
        words = name + (f"_{{{','.join(below)}}}" if below else "")
        if x.mark in ("∂", "∂t"):
            loss = "L_t" if x.mark == "∂t" else "L"
            return rf"\frac{{\partial {loss}}}{{\partial {words}}}"
        return rf"\delta {words}" if x.mark else words

    def number(self, value: float) -> str:
        words, _, power = digits(value).replace("−", "-").partition("e")
        return rf"{words} \cdot 10^{{{int(power)}}}" if power else words

    def operator(self, sign: str) -> str:
        return re.sub(r"[⊙≤≥≠−…]", lambda found: SIGNS[found[0]], sign)

    def bracket(self, words: str) -> str:
        return rf"\left({words}\right)"

    def square(self, words: list[str]) -> str:
        return rf"\left[{', '.join(words)}\right]"

    def beside(self, left: str, right: str) -> str:
        return rf"{left} \, {right}"

    def ratio(self, top: str, under: list[str]) -> str:
        return rf"\frac{{{top}}}{{{self.operator(self.TIMES).join(under)}}}"

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def turned(self, words: str) -> str:
        return rf"{{{words}}}^{{\top}}"

    def total(self, over: str, words: str) -> str:
        below = over if len(over) == 1 else rf"\text{{{over}}}"
        return rf"\sum_{{{below}}} {words}"

    def where(self, condition: str, x: str, y: str) -> str:
        return rf"\begin{{cases}} {x} & {condition} \\ {y} & \text{{else}} \end{{cases}}"

    def indexed(self, words: str, index: str) -> str:
        return rf"{{{words}}}_{{[{self.operator(index)}]}}"

    def function(self, op: Op, inputs: list[str], settings: list[str]) -> str:
        if op is ar.sqrt:
            return rf"\sqrt{{{inputs[0]}}}"
        if op is ar.abs:
            return rf"\left|{inputs[0]}\right|"
        name = word(op)
        head = rf"\operatorname{{{_escaped(name)}}}" if len(name) > 1 else latex_name(name)[0]
        given = ", ".join([*inputs, *[rf"\text{{{_escaped(s)}}}" for s in settings]])
        return head + self.bracket(given)


def latex_name(name: str) -> tuple[str, list[str]]:
    """A name in LaTeX, and what stands below it: W with x for "Wx"."""
    letters = [c for c in name if not unicodedata.combining(c)]
    accents = [ACCENTS.get(c, "tilde") for c in name if unicodedata.combining(c)]
    if len(letters) > 1 and not (len(letters) == 2 and letters[1].isalnum()):
        return rf"\mathrm{{{_escaped(name)}}}", []
    if not letters:
        return "", []
    base = rf"\{GREEK[letters[0]]}" if letters[0] in GREEK else letters[0]
    for accent in accents:
        base = rf"\{accent}{{{base}}}"
    return base, letters[1:]


def _escaped(words: str) -> str:
    return re.sub(r"([_%&#{}$])", r"\\\1", words).replace("−", "-")


# -- MathML ----------------------------------------------------------------------------------------


class MathML(Text):
    """A formula as MathML, which browsers set without help."""

    def symbol(self, x: Symbol) -> str:
        _, below = latex_name(x.name)
        name = x.name[: len(x.name) - len(below)] if below else x.name
        words = [_mi(v) for v in (*below, *([x.block] if x.block else []))]
        if x.at is not None:
            words.append(re.sub(r"t|\d+|[+−]", _token, self.time(x.at)))
        inner = _mi(name)
        if words:
            inner = f"<msub>{inner}{_row('<mo>,</mo>'.join(words))}</msub>"
        if x.mark in ("∂", "∂t"):
            loss = "<msub><mi>L</mi><mi>t</mi></msub>" if x.mark == "∂t" else "<mi>L</mi>"
            return f"<mfrac>{_row('<mo>∂</mo>' + loss)}{_row('<mo>∂</mo>' + inner)}</mfrac>"
        return _row(f"<mi>δ</mi>{inner}") if x.mark else inner

    def number(self, value: float) -> str:
        return f"<mn>{digits(value)}</mn>"

    def operator(self, sign: str) -> str:
        return f"<mo>{escape(sign.strip())}</mo>" if sign.strip() else ""

    def bracket(self, words: str) -> str:
        return _row(f"<mo>(</mo>{words}<mo>)</mo>")

    def square(self, words: list[str]) -> str:
        return _row(f"<mo>[</mo>{'<mo>,</mo>'.join(words)}<mo>]</mo>")

    def beside(self, left: str, right: str) -> str:
        return f'{left}<mspace width="0.25em"/>{right}'

    def ratio(self, top: str, under: list[str]) -> str:
        return f"<mfrac>{_row(top)}{_row(self.operator(self.TIMES).join(under))}</mfrac>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup>{_row(base)}{_row(exponent)}</msup>"

    def turned(self, words: str) -> str:
        return f"<msup>{_row(words)}<mo>⊤</mo></msup>"

    def total(self, over: str, words: str) -> str:
        return f"<munder><mo>∑</mo>{_mi(over)}</munder>{words}"

    def where(self, condition: str, x: str, y: str) -> str:
        pairs = (x, condition), (y, "<mtext>else</mtext>")
        rows = "".join(f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>" for a, b in pairs)
        return _row(f'<mo stretchy="true">{{</mo><mtable>{rows}</mtable>')

    def indexed(self, words: str, index: str) -> str:
        return f"<msub>{_row(words)}<mtext>[{escape(index)}]</mtext></msub>"

    def function(self, op: Op, inputs: list[str], settings: list[str]) -> str:
        if op is ar.sqrt:
            return f"<msqrt>{inputs[0]}</msqrt>"
        given = [*inputs, *[f"<mtext>{escape(s)}</mtext>" for s in settings]]
        return _mi(word(op)) + self.bracket("<mo>,</mo>".join(given))


def _token(found: re.Match[str]) -> str:
    kind = "mn" if found[0].isdigit() else "mi" if found[0].isalpha() else "mo"
    return f"<{kind}>{found[0]}</{kind}>"


def _mi(name: str) -> str:
    return f"<mi>{escape(name)}</mi>"


def _row(words: str) -> str:
    return f"<mrow>{words}</mrow>"
