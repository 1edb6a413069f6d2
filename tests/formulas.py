"""Printed equations read back: a small parser that works them out in NumPy as it reads.

It knows the language of `tinygrad_rnn/formula/write.py` from its description, and shares no code
with it. Beyond step T cotangents are 0, and what they meet there is as it was at T.
"""

import re

import numpy as np

LETTER = r"(?:(?![²³⁴⁵⁶⁷⁸⁹ᵀ])[\w.'\u0300-\u036f](?!\{))"
TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e[+−]\d+)?)|(?P<sum>Σ_batch|Σ_j)|(?P<root>√)"
    r"|(?P<small>[²³⁴⁵⁶⁷⁸⁹])|(?P<sign>[-+−⊙/^ᵀ()\[\],?:=≠<>≤≥])"
    rf"|(?P<name>(?:∂L_(?:t|\d+|\{{[^}}]*\}})/∂|∂L/∂|δ)?[^\W\d_]{LETTER}*(?:_\{{[^}}]*\}})?))"
)


def scatter_rows(x, index, rows):
    y = np.zeros((rows, x.shape[-1]))
    np.add.at(y, index.astype(int), x)
    return y


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def logsumexp(x, axis=-1, keepdims=False):
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def split(x, n=None, axis=0, sections=None):
    n = sections if n is None else int(n)
    return np.split(x, n if isinstance(n, int) else np.cumsum(n)[:-1], axis=axis)


def put(x, index, shape):
    y = np.zeros(shape)
    np.add.at(y, index, x)
    return y


def sum_to(x, shape):
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    axes = tuple(k for k, n in enumerate(shape) if n == 1)
    return x.sum(axis=axes, keepdims=True) if axes else x


FUNCTIONS = {
    "σ": lambda x: 1 / (1 + np.exp(-x)),
    "sin": np.sin, "cos": np.cos, "expm1": np.expm1, "log1p": np.log1p,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "tanh": np.tanh, "exp": np.exp, "log": np.log, "√": np.sqrt, "abs": np.abs, "sign": np.sign,
    "relu": lambda x: np.maximum(x, 0), "softplus": lambda x: np.logaddexp(x, 0),
    "maximum": np.maximum, "minimum": np.minimum, "softmax": softmax, "logsumexp": logsumexp,
    "log_softmax": lambda x, axis=-1: x - logsumexp(x, axis, True),
    "max": np.max, "min": np.min, "sum": np.sum,
    "reshape": np.reshape, "split": split,
    "unstack": lambda x, axis=0: list(np.moveaxis(x, axis, 0)),
    "stack": lambda *xs, axis: np.stack(xs, axis), "flip": np.flip, "put": put,
    "scatter_rows": scatter_rows,
    "concat": lambda *xs, axis: np.concatenate(xs, axis), "broadcast_to": np.broadcast_to,
    "sum_to": sum_to, "full": lambda x, shape: np.full(shape, x), "transpose": np.transpose,
    "swapaxes": np.swapaxes, "astype": lambda x, dtype: np.asarray(x).astype(dtype),
    "detached": lambda x: x, "clip_gradient": lambda x, norm=None, value=None: x,
}  # fmt: skip


class Reader:
    """One formula, computed: `value(name)` gives what a name stands for, or None."""

    def __init__(self, text, value, functions, batch):
        self.text, self.value, self.at = text, value, 0
        self.functions, self.batch = FUNCTIONS | functions, batch

    def peek(self):
        found = TOKEN.match(self.text, self.at)
        if found is None:
            assert not self.text[self.at :].strip(), f"unread: {self.text[self.at :]!r}"
            return "", "", self.at
        return found.lastgroup, found[found.lastgroup], found.end()

    def take(self, *signs):
        kind, word, end = self.peek()
        if kind and (word in signs or not signs):
            self.at = end
            return word
        return None

    def whole(self):
        y = self.expression()
        assert not self.peek()[0], f"unread: {self.text[self.at :]!r} of {self.text!r}"
        return y

    def expression(self):
        x = self.sum()
        while sign := self.take("=", "≠", "<", ">", "≤", "≥"):
            y = self.sum()
            x = {"=": np.equal, "≠": np.not_equal, "<": np.less, ">": np.greater,
                 "≤": np.less_equal, "≥": np.greater_equal}[sign](x, y)  # fmt: skip
        return x

    def sum(self):
        negative = self.take("−")
        x = self.product()
        x = -x if negative else x
        while sign := self.take("+", "−"):
            y = self.product()
            x = x + y if sign == "+" else x - y
        return x

    def product(self):
        x = self.chain()
        while sign := self.take("⊙", "/"):
            y = self.chain()
            x = x * y if sign == "⊙" else x / y
        return x

    def chain(self):
        x = self.unary()
        while True:
            kind, word, _ = self.peek()
            if kind not in ("number", "name", "sum", "root") and word not in ("(", "["):
                return x
            y = self.unary()
            x = x * y if not np.ndim(x) or not np.ndim(y) else x @ y

    def unary(self):
        kind, word, end = self.peek()
        if kind != "sum":
            return self.power()
        self.at = end
        x = self.power()
        return x.sum(axis=0) if word == "Σ_batch" else x.sum(axis=-1, keepdims=True)

    def power(self):
        x = self.primary()
        while True:
            kind, word, end = self.peek()
            if kind == "small":
                n = "⁰¹²³⁴⁵⁶⁷⁸⁹".index(word)
                x = x**n
            elif word == "ᵀ":
                x = x.T
            elif word == "^":
                self.at = end
                x = x ** self.primary()
                continue
            elif word == "[" and not self.text[self.at].isspace():
                stop = matching(self.text, end)
                index = eval(f"np.s_[{self.text[end:stop].replace('−', '-')}]")
                x, end = x[index], stop + 1
            else:
                return x
            self.at = end

    def primary(self):
        kind, word, end = self.peek()
        self.at = end
        if kind == "number":
            return float(word.replace("−", "-"))
        if word == "(":
            x = self.expression()
            assert self.take(")")
            return x
        if word == "[":
            return self.square()
        if kind in ("name", "root") and self.text[self.at : self.at + 1] == "(":
            self.at += 1
            return self.call(word)
        assert kind == "name", f"{word!r} in {self.text!r}"
        block = re.match(r"\[[^\W\d]\w*\]|\[\d+\]", self.text[self.at :])
        if block and (x := self.value(word + block[0])) is not None:
            self.at += block.end()
            return x
        x = self.value(word)
        assert x is not None, f"{word} is not known: {self.text}"
        return x

    def square(self):
        parts = [self.expression()]
        if self.take("?"):
            parts.append(self.expression())
            assert self.take(":")
            parts.append(self.expression())
            assert self.take("]")
            return np.where(*parts)
        while self.take(","):
            parts.append(self.expression())
        assert self.take("]")
        if len(parts) == 1:
            return np.asarray(parts[0]).astype(float)
        return np.concatenate(parts, axis=-1)

    def call(self, word):
        inputs, settings = [], {}
        while not self.take(")"):
            named = re.match(r"\s*(\w+)=(?!=)", self.text[self.at :])
            if named:
                self.at += named.end()
                stop = self.at
                while self.text[stop] not in ",)":
                    stop = (
                        matching(self.text, stop + 1) + 1 if self.text[stop] in "([" else stop + 1
                    )
                told = self.text[self.at : stop].replace("−", "-")
                told = f"np.s_{told}" if told[0] == "[" else told
                settings[named[1]] = eval(told, {"np": np, "B": self.batch, "int64": np.int64})
                self.at = stop
            else:
                inputs.append(self.expression())
            self.take(",")
        return self.functions[word](*inputs, **settings)


def matching(text, at):
    depth = 1
    while depth:
        depth += (text[at] in "([") - (text[at] in ")]")
        at += 1
    return at - 1


def sections_of(text):
    """The lines of each section of printed equations, by the first word of its heading."""
    found = {}
    for part in text.split("\n\n")[1:]:
        heading, *lines = part.rstrip("\n").split("\n")
        whole = re.sub(r"\n   +", " ", "\n".join(lines)).split("\n")
        found[heading.split()[0].strip(",")] = [line.strip() for line in whole]
    return found


BEYOND = 4  # steps after the last that are looked at


class Evaluated:
    """Equations computed over T steps; `known` maps names, with a time where they change, to
    arrays: ("x", 3), "Wx", ("h", 0)."""

    def __init__(self, text, known, steps, batch, functions=None):
        functions = functions or {}
        self.known, self.batch = {"B": float(batch)} | known, batch
        self.functions, self.t = functions, None
        sections, self.end = sections_of(text), steps + BEYOND
        for name, when in [key for key in known if isinstance(key, tuple) and key[1] == steps]:
            last = 0 * known[name, when] if name.startswith("∂L") else known[name, when]
            self.known |= {(name, when + k): last for k in range(1, BEYOND + 1)}
        for line in [*sections.get("Blocks", ()), *sections.get("Before", ())]:
            self.line(line)
        for self.t in range(1, steps + BEYOND + 1):
            for line in sections["Forward"]:
                self.line(line)
        for self.t in range(steps + BEYOND, steps, -1):
            self.beyond(sections["Backward"])
        for self.t in range(steps, 0, -1):
            for line in sections["Backward"]:
                self.line(line)
        self.t = None
        for line in sections.get("The", ()):
            self.line(line)
        for line in sections.get("Weights", ()):
            for names, formula in spread(*parts_of(line)):
                assert formula.startswith("Σ_t "), line
                terms = []
                for self.t in range(1, steps + 1):
                    terms.append(self.value_of(formula.removeprefix("Σ_t ")))
                self.known[names[0]] = sum(terms)

    def line(self, line):
        for names, formula in spread(*parts_of(line)):
            value = self.value_of(formula)
            for name, part in zip(names, value if len(names) > 1 else [value], strict=True):
                self.known[self.key(name)] = part

    def beyond(self, lines):
        """A step after the last: cotangents are 0."""
        pairs = [pair for line in lines for pair in spread(*parts_of(line))]
        for (name,), _ in pairs:
            if name.startswith("δ"):
                base, when = self.key(name)
                value = self.get(name.removeprefix("δ"))
                self.known[base, when] = 0.0 * value
        for (name,), formula in pairs:
            if not name.startswith("δ"):
                self.known[self.key(name)] = self.value_of(formula)

    def value_of(self, formula):
        return Reader(formula, self.get, self.functions, self.batch).whole()

    def key(self, name):
        """A name and its time: "h_{t−1}" at step 3 is ("h", 2)."""
        name = re.sub(r"∂L_(\d+|\{[^}]*\})/", "∂L_t/", name)  # it is that of its variable
        found = re.fullmatch(r"(.*?)_(?:\{([^}]*)\}|(t|\d+))((?:\[\w+\])?)", name)
        if not found or found[1] == "∂L":
            return name
        when = (found[2] or found[3]).replace("−", "-")
        return found[1] + found[4], min(eval(when, {"t": self.t}), self.end)

    def get(self, name):
        key = self.key(name)
        found = self.known.get(key)
        return self.known.get(key[0]) if found is None and isinstance(key, tuple) else found


def parts_of(line):
    """left, right and the blocks that it is for."""
    line, each = [*re.split(r"\s+for (?=\w = )", line), ""][:2]
    left, right = re.split(r" = ", line, maxsplit=1)
    return re.split(r", (?![^\[]*\])", left), right, each


def spread(left, right, each):
    """One line for each of the blocks."""
    if not each:
        return [(left, right)]
    letter, blocks = each.split(" = ")
    there = [f"[{block}]" for block in blocks.split(", ")]
    change = lambda text, block: text.replace(f"[{letter}]", block)
    return [([change(name, block) for name in left], change(right, block)) for block in there]
