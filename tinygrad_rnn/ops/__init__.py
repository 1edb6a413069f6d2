"""Every verb, once, with its derivative."""

from inspect import isfunction as _isfunction
from sys import modules as _modules

from ..op import worded as _worded
from ..tensor import Tensor as _Tensor
from . import spelling as spelling
from .arithmetic import abs as abs
from .arithmetic import add as add
from .arithmetic import astype as astype
from .arithmetic import div as div
from .arithmetic import equal as equal
from .arithmetic import exp as exp
from .arithmetic import greater as greater
from .arithmetic import greater_equal as greater_equal
from .arithmetic import less as less
from .arithmetic import less_equal as less_equal
from .arithmetic import log as log
from .arithmetic import maximum as maximum
from .arithmetic import minimum as minimum
from .arithmetic import mul as mul
from .arithmetic import neg as neg
from .arithmetic import not_equal as not_equal
from .arithmetic import power as power
from .arithmetic import relu as relu
from .arithmetic import sigmoid as sigmoid
from .arithmetic import sign as sign
from .arithmetic import softplus as softplus
from .arithmetic import sqrt as sqrt
from .arithmetic import sub as sub
from .arithmetic import tanh as tanh
from .arithmetic import where as where
from .clip import clip_cotangent as clip_cotangent
from .linear import matmul as matmul
from .loss import binary_cross_entropy as binary_cross_entropy
from .loss import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .loss import cross_entropy as cross_entropy
from .loss import mean_squared_error as mean_squared_error
from .reduce import log_softmax as log_softmax
from .reduce import logsumexp as logsumexp
from .reduce import max as max
from .reduce import mean as mean
from .reduce import min as min
from .reduce import softmax as softmax
from .reduce import sum as sum
from .shape import concat as concat
from .shape import embedding as embedding
from .shape import expand as expand
from .shape import flip as flip
from .shape import reshape as reshape
from .shape import split as split
from .shape import stack as stack
from .shape import sum_to as sum_to
from .shape import swapaxes as swapaxes
from .shape import transpose as transpose
from .shape import unstack as unstack

for _name, _function in list(globals().items()):  # of those that are ops the op itself says it
    if _isfunction(_function) and not _name.startswith("_"):
        globals()[_name] = _worded("f")(_function)
        setattr(_modules[_function.__module__], _name, globals()[_name])  # where pickle looks
for _name, _method in list(vars(_Tensor).items()):
    if getattr(_method, "__module__", "") == spelling.__name__ and _method.__defaults__:
        setattr(_Tensor, _name, _worded("f")(_method))
