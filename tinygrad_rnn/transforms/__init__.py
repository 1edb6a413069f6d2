"""What differentiates functions, what does them to many examples, and what saves memory.

They nest in any order, go through layers and compiled loops, and take tensors in lists, tuples,
dicts and modules. `tg.grad(y, xs)` differentiates a tensor that is there already.
"""

from .checkpoint import checkpoint
from .functions import grad, hessian, hvp, jacobian, jvp, linearize, value_and_grad, vjp
from .vmap import vmap

__all__ = [
    "checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "linearize", "value_and_grad",
    "vjp", "vmap",
]  # fmt: skip
