"""Formulas written down: as text, which can be read back, as LaTeX, and as MathML.

In a text `A B` is a product of matrices (of numbers, if one is a number), ⊙ that of elements, ᵀ
turns rows into columns, [c ? x : y] is x where c holds, else y, [c] is 1 where c holds, else 0,
[x, y] are blocks side by side, and Σ_batch and Σ_j add up over the first and the last axis.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape
from typing import Any, ClassVar

import numpy as np

from ..op import Op, pick
from ..ops import arithmetic as ar
from ..ops import linear, reduce, shape
from .term import Call, Number, Product, Sum, Symbol, Term

# How tightly a formula holds together.
ANY, SUM, RATIO, PRODUCT, UNDER, MATRIX, POWER, ATOM = range(8)
COMPARISONS = (ar.less, ar.less_equal, ar.greater, ar.greater_equal, ar.equal, ar.not_equal)


def word(op: Op) -> str:
    """What an op is called in a formula: its sign, if that can stand before a bracket; its name."""
    sign = "" if op is reduce.sum else op.declared.sign or ""
    kinds = {unicodedata.category(c) for c in sign.replace("_", "a")}
    symbol = len(sign) == 1 and kinds <= {"Sm", "So"}
    return sign if symbol or (sign and kinds <= {"Ll", "Lu", "Lo", "Nd"}) else op.name


class Text:
    """A formula as a line of text. The words in capitals are all that is said otherwise elsewhere,
    with the names, numbers and signs that the methods below them write."""

    BRACKET, SQUARE, COMMA, SETTING = "({})", "[{}]", ", ", "{}"
    BESIDE, TURNED, INDEXED, TOTAL = "{} {}", "{}ᵀ", "{}[{}]", "Σ_{} {}"
    RATIO, UNDER, POWER, WHERE = "{} / {}", "({})", "{}^{}", "[{0} ? {1} : {2}]"
    FUNCTION, ROOT, SIZE, EACH = "{}({})", "√({})", "abs({})", "{} = {}"
    STACKED = False  # whether a line stands between what is divided and by what
    LOSS: ClassVar = {"∂": "∂L/∂{}", "∂t": "∂L{1}/∂{0}", "δ": "δ{}", "": "{}"}

    def __init__(self, first: bool = False):
        """first: whether t is 1."""
        self.first = first

    def __call__(self, x: Term, least: int = ANY) -> str:
        """The formula, in brackets if it holds together less tightly than asked for."""
        words, level = self.form(x)
        return words if level >= least else self.BRACKET.format(words)

    def form(self, x: Term) -> tuple[str, int]:
        """What a formula is written as, and how tightly that holds together."""
        if isinstance(x, Symbol):
            return self.LOSS[x.mark].format(self.symbol(x), self.below(self.time(x.at))), ATOM
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
            words += self.operator((" − " if c < 0 else " + ") if words else "−" * (c < 0))
            alone = abs(c) == 1 and not isinstance(z, Number)
            words += self(z, SUM if c > 0 else RATIO) if alone else self.product(z, abs(c))[0]
        return words, SUM

    def product(self, x: Term, c: float) -> tuple[str, int]:
        """A product with a number before it."""
        if isinstance(x, Number):
            return self.number(c), ATOM
        factors = x.factors if isinstance(x, Product) else ((x, 1),)
        above = [(z, n) for z, n in factors if n > 0]
        below = [(z, -n) for z, n in factors if n < 0]
        over = [self.raised(z, n, PRODUCT) for z, n in above]
        under = [self.raised(z, n, UNDER) for z, n in below]
        if above and is_total(*above[-1]) and (self.STACKED or not (below or abs(c) < 1)):
            over[-1] = self(above[-1][0])  # nothing follows that it could reach over
        if self.STACKED and len(below) == 1 and is_total(*below[0]):
            under = [self(below[0][0])]
        parts = len(under)
        if c != 1:
            whole = round(1 / c) if c and abs(1 / c) < 1e15 else 0
            is_part = bool(over) and whole > 1 and 1 / whole == c
            part, value = (under, whole) if is_part else (over, c)
            words = self.number(value)
            part[:1] = [self.BESIDE.format(words, part[0])] if part else [words]
            parts += is_part
        times = self.operator(" ⊙ ")
        top, bottom = times.join(over) or self.number(1), times.join(under)
        bottom = self.UNDER.format(bottom) if parts > 1 else bottom
        words = self.RATIO.format(top, bottom) if under else top
        return words, PRODUCT if c == 1 and not under else RATIO

    def raised(self, x: Term, n: int, least: int) -> str:
        return self(x, least) if n == 1 else self.power(self(x, ATOM), self.number(n))

    def call(self, x: Call) -> tuple[str, int]:
        op, attrs = x.op, dict(x.attrs)
        to = lambda least: [self(z, least) for z in x.inputs]
        if op is linear._matmul:
            return self.BESIDE.format(self(x.inputs[0], MATRIX), self(x.inputs[1], POWER)), MATRIX
        if op is shape.transpose and attrs["axes"] is None:
            return self.TURNED.format(*to(ATOM)), ATOM
        if op is reduce.sum and "over" in attrs:
            return self.total(attrs["over"], *to(POWER)), RATIO
        if op is ar.where:
            return self.WHERE.format(self.condition(x.inputs[0]), *to(ANY)[1:]), ATOM
        if op is ar.power:
            return self.power(*to(ATOM)), POWER
        if op in COMPARISONS:
            return self.SQUARE.format(self.condition(x)), ATOM
        if op is ar.astype and isinstance(z := x.inputs[0], Call) and z.op in COMPARISONS:
            return self.form(z)
        if op is shape._concat and attrs["axis"] in (-1, "last"):
            return self.SQUARE.format(self.COMMA.join(to(ANY))), ATOM
        if op in (shape.take, pick) and len(x.inputs) == 1:
            index = index_words(attrs["index"]) if op is shape.take else str(attrs["i"])
            return self.INDEXED.format(*to(ATOM), self.escaped(index)), ATOM
        name = word(op)
        if len(x.inputs) == 2 and op.pointwise and not name[0].isalpha():  # somebody's own sign
            return self.BRACKET.format(self.operator(f" {name} ").join(to(POWER))), ATOM
        if op in (ar.sqrt, ar.abs):
            return (self.ROOT if op is ar.sqrt else self.SIZE).format(*to(ANY)), ATOM
        settings = [self.SETTING.format(self.escaped(s)) for s in self.settings(op, attrs)]
        given = self.COMMA.join([*to(ANY), *settings])
        return self.FUNCTION.format(self.function(name), given), ATOM

    def condition(self, x: Term) -> str:
        """A comparison, without the brackets that make it a number."""
        if not isinstance(x, Call) or x.op not in COMPARISONS:
            return self(x)
        return self.operator(f" {x.op.declared.sign} ").join([self(z, SUM) for z in x.inputs])

    def settings(self, op: Op, attrs: dict[str, Any]) -> list[str]:
        known = op.defaults
        if op is shape._split and type(attrs["sections"]) is int:
            return [str(attrs["sections"]), f"axis={setting(attrs['axis'])}"]
        return [
            f"{name}={setting(value)}"
            for name, value in attrs.items()
            if value is not None and (name not in known or known[name] != value)
        ]

    def total(self, over: str, words: str) -> str:
        """The sum of what the words say over something."""
        return self.TOTAL.format(over, words)

    # -- what is written otherwise elsewhere -------------------------------------------------------

    def symbol(self, x: Symbol) -> str:
        block = f"[{x.block}]" * bool(x.block)
        return one_word(x.name) + self.below(self.time(x.at)) + block

    def below(self, at: str) -> str:
        """A time below a letter."""
        return f"_{{{at}}}" if len(at) > 1 else "_" * bool(at) + at

    def time(self, at: int | None) -> str:
        if at is None or self.first:
            return "" if at is None else str(at + 1).replace("-", "−")
        return f"t{'+' if at > 0 else '−'}{abs(at)}" if at else "t"

    def number(self, value: float) -> str:
        return digits(value)

    def operator(self, sign: str) -> str:
        return sign

    def power(self, base: str, exponent: str) -> str:
        small = exponent.translate(SUPERSCRIPTS)
        return base + small if exponent in "23456789" else self.POWER.format(base, exponent)

    def function(self, name: str) -> str:
        return name

    def escaped(self, words: str) -> str:
        return words


def is_total(x: Term, n: int) -> bool:
    """Whether it is a sum over an axis."""
    return n == 1 and isinstance(x, Call) and x.op is reduce.sum and "over" in dict(x.attrs)


SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def one_word(name: str) -> str:
    """A name as it stands in a line of words."""
    return re.sub(r"[^\w.\u0300-\u036f'-]+", "_", name)


def digits(value: float) -> str:
    """A number with the fewest digits that tell it from others of its dtype, whole ones as such."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "∞" if value > 0 else "−∞"
    if value == round(value) and abs(value) < 1e15:
        return f"{value:.0f}".replace("-", "−")
    with np.errstate(over="ignore"):  # beyond its range it is infinite, which is another number
        short = np.float32(value)
    return str(short if float(short) == value else np.float64(value)).replace("-", "−")


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
    return ", ".join(map(_place, index)).replace("-", "−")


def _place(i: Any) -> str:
    if not isinstance(i, slice):
        return "..." if i is Ellipsis else str(i)
    ends = [i.start, i.stop, i.step][: 2 + (i.step is not None)]
    return ":".join("" if v is None else str(v) for v in ends)


# -- what is set, with indices below ---------------------------------------------------------------


class Latex(Text):
    """A formula as LaTeX, for a paper's align."""

    BRACKET, SQUARE, SETTING = r"\left({}\right)", r"\left[{}\right]", r"\text{{{}}}"
    BESIDE, TURNED, INDEXED = r"{} \, {}", r"{{{}}}^{{\top}}", "{{{}}}_{{[{}]}}"
    RATIO, UNDER, POWER = r"\frac{{{}}}{{{}}}", "{}", "{{{}}}^{{{}}}"
    TOTAL, BELOW, SCALED = r"\sum_{{{}}} {}", "{}_{{{}}}", r"{} \cdot 10^{{{}}}"
    WHERE = r"\begin{{cases}} {1} & {0} \\ {2} & \text{{else}} \end{{cases}}"
    FUNCTION, ROOT, SIZE = r"{}\left({}\right)", r"\sqrt{{{}}}", r"\left|{}\right|"
    EACH, WORD = r"{} \in \{{{}\}}", r"\text{{{}}}"
    STACKED = True
    LOSS: ClassVar = {
        **{"": "{}", "δ": r"\delta {}", "∂": r"\frac{{\partial L}}{{\partial {}}}"},
        **{"∂t": r"\frac{{\partial L{1}}}{{\partial {0}}}"},
    }

    def symbol(self, x: Symbol) -> str:
        name, below = below_name(x.name)
        words = [self.letter(v) for v in (below, x.block) if v]
        words += [] if x.at is None else [self.digits(self.time(x.at))]
        name, commas = self.letter(name), self.COMMA.strip().join(words)
        return self.BELOW.format(name, commas) if words else name

    def below(self, at: str) -> str:
        return f"_{{{at}}}" if len(at) > 1 else f"_{at}"

    def letter(self, name: str) -> str:
        """A name, without the letter below it."""
        if sum(not unicodedata.combining(c) for c in name) > 1:
            kind = r"\mathrm" if name.isascii() else r"\text"
            return rf"{kind}{{{self.escaped(name)}}}"
        words = GREEK.get(name[:1], name[:1])
        words = words if words.isascii() else rf"\text{{{words}}}"
        for accent in name[1:]:
            words = rf"{ACCENTS.get(accent, ACCENTS[TILDE])}{{{words}}}"
        return words

    def number(self, value: float) -> str:
        words, _, power = digits(value).partition("e")
        words, power = self.digits(words), self.digits(re.sub("(?<=−)0+", "", power))
        return self.SCALED.format(words, power) if power else words

    def digits(self, words: str) -> str:
        """A number, or a time."""
        words = words.replace("−", "-").replace("∞", SIGNS["∞"])
        return words.replace("NaN", r"\mathrm{NaN}")

    def power(self, base: str, exponent: str) -> str:
        return self.POWER.format(base, exponent)

    def total(self, over: str, words: str) -> str:
        return super().total(over if len(over) == 1 else self.WORD.format(over), words)

    def operator(self, sign: str) -> str:
        return re.sub(r"[⊙≤≥≠−…∨∧¬⊻]", lambda found: SIGNS[found[0]], sign)

    def function(self, name: str) -> str:
        whole = len(name) > 1
        return rf"\operatorname{{{self.escaped(name)}}}" if whole else self.letter(name)

    def escaped(self, words: str) -> str:
        return re.sub(r"([_%&#{}$])", r"\\\1", words).replace("−", "-")


def below_name(name: str) -> tuple[str, str]:
    """A name, and the letter of it that stands below: W and x for "Wx". A t would be the time."""
    letters = [c for c in name if not unicodedata.combining(c)]
    two = len(letters) == 2 and name[-1:] == letters[1] and name[-1:].isalnum() and name[-1:] != "t"
    word = any([unicodedata.category(c) == "Lo" for c in letters])  # of a script without cases
    return (name[:-1], name[-1]) if two and not word else (name, "")


WORDS = r"""∂ \partial, √ \surd, α \alpha, β \beta, γ \gamma, δ \delta, ε \varepsilon, ζ \zeta,
η \eta, θ \theta, ι \iota, κ \kappa, λ \lambda, μ \mu, ν \nu, ξ \xi, π \pi, ρ \rho, ς \varsigma,
σ \sigma, τ \tau, υ \upsilon, φ \varphi, χ \chi, ψ \psi, ω \omega, Γ \Gamma, Δ \Delta, Θ \Theta,
Λ \Lambda, Ξ \Xi, Π \Pi, Σ \Sigma, Υ \Upsilon, Φ \Phi, Ψ \Psi, Ω \Omega"""
GREEK: dict[str, str] = dict(map(str.split, WORDS.split(",")))
SIGNS = {"⊙": r"\odot", "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "−": "-", "…": r"\dots"}
SIGNS |= {"∞": r"\infty", "∨": r"\lor", "∧": r"\land", "¬": r"\lnot", "⊻": r"\veebar"}
TILDE = "\u0303"
ACCENTS = {TILDE: r"\tilde", "\u0302": r"\hat", "\u0304": r"\bar", "\u0307": r"\dot"}


class MathML(Latex):
    """A formula as MathML, which browsers set without help."""

    BRACKET = "<mrow><mo>(</mo>{}<mo>)</mo></mrow>"
    SQUARE, COMMA = "<mrow><mo>[</mo>{}<mo>]</mo></mrow>", "<mo>,</mo>"
    SETTING, EACH, WORD = "<mtext>{}</mtext>", "{} = {}", "{}"
    BESIDE, FUNCTION = '{}<mspace width="0.25em"/>{}', "{}" + BRACKET
    TURNED = "<msup><mrow>{}</mrow><mo>⊤</mo></msup>"
    INDEXED = "<msub><mrow>{}</mrow><mtext>[{}]</mtext></msub>"
    RATIO = "<mfrac><mrow>{}</mrow><mrow>{}</mrow></mfrac>"
    POWER, ROOT = "<msup><mrow>{}</mrow><mrow>{}</mrow></msup>", "<msqrt>{}</msqrt>"
    TOTAL, BELOW = "<munder><mo>∑</mo><mi>{}</mi></munder>{}", "<msub>{}<mrow>{}</mrow></msub>"
    SCALED = "{}<mo>⋅</mo><msup><mn>10</mn><mrow>{}</mrow></msup>"
    SIZE = "<mrow><mo>|</mo>{}<mo>|</mo></mrow>"
    WHERE = (
        '<mrow><mo stretchy="true">{{</mo><mtable><mtr><mtd>{1}</mtd><mtd>{0}</mtd></mtr>'
        '<mtr><mtd>{2}</mtd><mtd><mtext data-say="eq_else">else</mtext></mtd></mtr></mtable></mrow>'
    )
    LOSS: ClassVar = {
        **{"": "{}", "δ": "<mrow><mi>δ</mi>{}</mrow>"},
        "∂": "<mfrac><mrow><mo>∂</mo><mi>L</mi></mrow><mrow><mo>∂</mo>{}</mrow></mfrac>",
        "∂t": "<mfrac><mrow><mo>∂</mo><msub><mi>L</mi>{1}</msub></mrow>"
        "<mrow><mo>∂</mo>{0}</mrow></mfrac>",
    }

    def below(self, at: str) -> str:
        return f"<mrow>{self.digits(at)}</mrow>"

    def digits(self, words: str) -> str:
        """The numbers, letters and signs of it, each as what it is."""
        return re.sub(r"t|[\d.]+|[+−]", _token, words)

    def letter(self, name: str) -> str:
        return f"<mi>{escape(name)}</mi>"

    function = letter

    def operator(self, sign: str) -> str:
        return f"<mo>{escape(sign.strip())}</mo>" if sign.strip() else ""

    def escaped(self, words: str) -> str:
        return escape(words)


def _token(found: re.Match[str]) -> str:
    kind = "mn" if found[0][0].isdigit() else "mi" if found[0].isalpha() else "mo"
    return f"<{kind}>{found[0]}</{kind}>"
