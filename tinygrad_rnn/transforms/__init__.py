"""What differentiates functions: gradients, products, matrices; and what saves memory.

They nest in any order, go through layers and compiled loops, and take tensors in lists, tuples,
dicts and modules. `tg.grad(y, xs)` differentiates a tensor that is there already.
"""

from .checkpoint import checkpoint
from .functions import grad, hessian, hvp, jacobian, jvp, linearize, value_and_grad, vjp

__all__ = [
    "checkpoint", "grad", "hessian", "hvp", "jacobian", "jvp", "linearize", "value_and_grad",
    "vjp",
]  # fmt: skip
