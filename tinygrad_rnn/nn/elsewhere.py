"""What other libraries call it: the words that are refused by name, and the page that lists them.

Each row is where a word stands there, the words, and what to use here. Refusals read it through
`tensor.foreign`; `table()` is what docs/conventions.md shows.
"""

from __future__ import annotations

from typing import Any

from ..tensor import ELSEWHERE, Tensor, foreign

PLACES = {  # where a word stands, as the page says it, and where it is looked for here
    "torch.": "tg", "jax.": "tg", "x.": "x", "f(": "f", "nn.": "nn", "optim.": "optim",
    "module.": "module", "layer(": "layer", "nn.LSTM(": "Cell", "nn.Linear(": "Linear",
    "nn.Embedding(": "Embedding", "nn.Dropout(": "Dropout", "nn.LayerNorm(": "LayerNorm",
    "nn.RNN(layer, ": "Recurrent", "Bidirectional(": "Bidirectional", "optim.Adam(": "Optimizer",
    "": "",
}  # fmt: skip

NOTHING = "nothing in its place: there are no devices"
ROWS = (
    ("", "`torch.tensor([1.0])` is float32",
     "`tg.tensor([1.0])` is float64, as in NumPy; give `dtype=np.float32`"),
    ("", "`x.repeat(2, 1)` lays copies side by side",
     "`tg.tile(x, (2, 1))`; `x.repeat(2, 1)` is NumPy's, each row twice"),
    ("", "`torch.norm(x, 1)` of a matrix adds up all its numbers",
     "`tg.norm(x.ravel(), 1)`; `tg.norm(x, 1)` is NumPy's, the largest sum of a column"),
    ("", "`cross_entropy(logits, p)` of chances p",
     "`-(p * tg.log_softmax(logits)).sum(-1).mean()`"),
    ("x.", "view view_as", "`x.reshape(...)`"),
    ("x.", "flatten", "`x.ravel()`"),
    ("x.", "permute", "`x.transpose(1, 0, 2)`; of two axes `tg.swapaxes(x, 0, 1)`"),
    ("x.", "unsqueeze", "`x[None]`, or `tg.expand_dims(x, axis)`"),
    ("x.", "t mT", "`x.T`, or `tg.swapaxes(x, -1, -2)`"),
    ("x.", "float double half long int bool type",
     "`x.astype(np.float32)`, or another dtype of NumPy's"),
    ("x.", "to cuda cpu device", "`x` itself, or `x.astype(dtype)`: there are no devices"),
    ("x.", "requires_grad_", "`x.requires_grad = True`"),
    ("x.", "detach_", "`x.detach()`"),
    ("x.", "retain_grad", "`loss.backward(retain_graph=True)`, which leaves every gradient"),
    ("x.", "register_post_accumulate_grad_hook",
     "`x.register_hook(f)`, or what is to be done after `backward()`"),
    ("x.", "grad_fn is_leaf", "`x.op`, which is None for a leaf"),
    ("x.", "clone contiguous", "`x` itself: arrays do not change; without its past `tg.tensor(x)`"),
    ("x.", "copy", "`x.data.copy()`"),
    ("x.", "add_ sub_ mul_ div_ zero_ fill_ copy_",
     "a new tensor, such as `x + y` or `tg.where(mask, y, x)`; a leaf gets `x.data = array`"),
    ("x.", "at index_put_", "`tg.index_put(x, index, values)`, which is a new tensor"),
    ("x.", "pow add sub mul div", "`x ** y`, `x + y`, and so on"),
    ("x.", "swapaxes take narrow", "`tg.swapaxes(x, 0, 1)`, `x[index]`"),
    ("x.", "matmul mm bmm", "`x @ y`"),
    ("x.", "tolist", "that of the array: `x.data.tolist()`"),
    ("x.", "norm sort topk", "`tg.norm(x)`, `tg.sort(x)`, `tg.topk(x, k)`, which leave x as it is"),
    ("x.", "clamp", "`x.clip(low, high)`"),
    ("x.", "expand expand_as", "`tg.broadcast_to(x, shape)`"),
    ("x.", "chunk unbind split", "`tg.chunk(x, 2)`, `tg.unstack(x)`, `tg.split(x, sizes=[2, 3])`"),
    ("x.", "masked_fill", "`tg.where(mask, value, x)`"),
    ("x.", "gather scatter_add_ index_select",
     "`tg.gather(x, axis, index)`, `tg.scatter_add`, `x[index]`"),
    ("x.", "floor ceil sin cos square rsqrt erf flip tile", "`tg.floor(x)`, and so on"),
    ("x.", "numel nelement", "`x.size`"),
    ("x.", "dim", "`x.ndim`"),
    ("f(", "dim dims", "`axis=`"),
    ("f(", "keepdim keep_dims", "`keepdims=`"),
    ("f(", "unbiased", "`ddof=1`, of `tg.var` and `tg.std`; it is 0 unless told"),
    ("f(", "normalized_shape", "`axis=`, the axes themselves"),
    ("f(", "attn_mask is_causal", "`mask=`, `causal=`"),
    ("f(", "input other tensors", "its place: what an op is done to comes first, without a name"),
    ("torch.", "empty rand randn randint multinomial",
     "NumPy's array: `tg.tensor(rng.normal(size=(2, 3)), dtype=np.float32)`, `rng.choice(3, p=p)`"),
    ("torch.", "atan2 movedim repeat_interleave amax amin",
     "NumPy's names: `tg.arctan2`, `tg.moveaxis`, `tg.repeat`, `tg.max`, `tg.min`"),
    ("torch.", "allclose", "that of NumPy: `np.allclose(x, y)`"),
    ("torch.", "gradcheck", "`tg.check_grads(f, [x])`, `tg.lab.assert_agree(layer)`"),
    ("torch.", "smooth_l1_loss", "`tg.huber_loss(x, y, delta=beta) / beta`"),
    ("torch.", "relu6", "`tg.clip(x, 0, 6)`"),
    ("torch.", "from_numpy as_tensor asarray array FloatTensor", "`tg.tensor(array)`, a copy"),
    ("torch.", "Variable", "`tg.tensor(array, requires_grad=True)`"),
    ("torch.", "cat concatenate vstack", "`tg.concat([x, y], axis=0)`, `tg.stack`"),
    ("torch.", "hstack", "`tg.concat([x, y], axis=1)`"),
    ("torch.", "unbind", "`tg.unstack(x)`"),
    ("torch.", "mse_loss cosine_similarity", "`tg.mean_squared_error(x, target)`, or the formula"),
    ("torch.", "dropout", "`nn.Dropout(p)`, a layer that knows whether it is trained"),
    ("torch.", "eq ne lt le gt ge", "`x == y`, `x < y`, and so on"),
    ("torch.", "mm bmm", "`x @ y`"),
    ("torch.", "pow subtract multiply divide", "`x ** y`, `x - y`, `x * y`, `x / y`"),
    ("torch.", "clamp", "`tg.clip(x, low, high)`"),
    ("torch.", "unsqueeze permute flatten", "`tg.expand_dims`, `tg.transpose`, `tg.ravel`"),
    ("torch.", "index_select", "`x[index]`, or `tg.embedding(table, index)`"),
    ("torch.", "scaled_dot_product_attention", "`tg.attention(query, key, value)`"),
    ("torch.", "float32 float64 int64 long", "`np.float32`, `np.int64`"),
    ("torch.", "seed random", "`tg.manual_seed(0)`, or one `np.random.Generator` as `rng=`"),
    ("torch.", "save load", "`tg.io.save(path, module.state_dict())`, `tg.io.load(path)`"),
    ("torch.", "cuda device", NOTHING),
    ("torch.", "inference_mode enable_grad set_grad_enabled",
     "`tg.no_grad()`, and `recording(True)` from `tinygrad_rnn.tensor`"),
    ("torch.", "autograd", "`tg.grad`, and `tg.primitive` for a function of your own"),
    ("torch.", "func", "`tg.transforms`, whose names are JAX's"),
    ("torch.", "compile", "`tg.scan(step, carry, xs)`: loops are compiled, layers are such loops"),
    ("jax.", "jit lax", "`tg.scan(step, carry, xs)`, whose step is `step(x, *carry)`"),
    ("jax.", "pmap", "an axis in front: ops broadcast, `@` takes batches"),
    ("jax.", "value_and_grad vjp jvp linearize jacobian hessian hvp vmap",
     "those of `tg.transforms`, such as `tg.transforms.jvp(f, primals, tangents)`"),
    ("jax.", "jacfwd jacrev", "`tg.transforms.jacobian(f)`, which takes the mode of fewer passes"),
    ("jax.", "stop_gradient", "`x.detach()`"),
    ("jax.", "checkpoint remat",
     '`tg.transforms.checkpoint(f)`; along time `tg.scan(..., checkpoint="sqrt")`'),
    ("jax.", "GradientTape", "`loss.backward()`: every tensor remembers where it came from"),
    ("", "`w -= lr * w.grad` under `no_grad`", "`w.data = w.data - lr * w.grad.data`"),
    ("nn.", "Sequential Model compact",
     "a `Module` whose `__call__` says it; cells stack in `nn.Recurrent`"),
    ("nn.", "ModuleList ModuleDict ParameterList",
     "a list or dict as an attribute: what is in it is found"),
    ("nn.", "Parameter", "`tg.tensor(array, requires_grad=True)`"),
    ("nn.", "Dense LazyLinear", "`nn.Linear(inputs, outputs)`"),
    ("nn.", "Embed", "`nn.Embedding(count, size)`"),
    ("nn.", "LSTMCell GRUCell RNNCell SimpleRNN SimpleRNNCell OptimizedLSTMCell",
     "`nn.LSTM`, `nn.GRU`, `nn.RNN`: each is a cell, one step of it `cell.step(x, h, c)`, and "
     "`cell(xs)` all of them"),
    ("nn.", "StackedRNNCells", "`nn.Recurrent(nn.LSTM(3, 5), nn.LSTM(5, 5))`"),
    ("nn.", "TimeDistributed", "the layer itself: `nn.Linear` takes (T, B, features)"),
    ("nn.", "ReLU Tanh Sigmoid Softmax LogSoftmax Softplus",
     "the functions `tg.relu`, `tg.tanh`, `tg.sigmoid`, `tg.softmax`"),
    ("nn.", "CrossEntropyLoss NLLLoss KLDivLoss CTCLoss",
     "`tg.cross_entropy(logits, target)`, `tg.nll_loss`, `tg.kl_div`, `tg.ctc_loss`"),
    ("nn.", "MSELoss L1Loss HuberLoss",
     "`tg.mean_squared_error(x, target)`, `tg.l1_loss`, `tg.huber_loss`"),
    ("nn.", "BCELoss BCEWithLogitsLoss",
     "`tg.binary_cross_entropy`, `tg.binary_cross_entropy_with_logits`"),
    ("nn.", "LayerNormalization BatchNorm1d RMSNorm", "`nn.LayerNorm(size)`, `tg.rms_norm(x)`"),
    ("nn.", "Conv1d MultiheadAttention", "the functions `tg.conv1d`, `tg.attention`"),
    ("nn.", "functional", "the functions of `tg`: `tg.relu`, `tg.cross_entropy`"),
    ("nn.", "utils", "`optim.clip_grad_norm`, `tg.data.pad`"),
    ("nn.", "Flatten", "`x.reshape(...)`"),
    ("module.", "forward", "`module(x)`: a `Module` defines `__call__`"),
    ("module.", "weight kernel",
     "`linear.W` (inputs × outputs), `embedding.table`, `norm.gain`, `cell.Wx`, `cell.Wh`"),
    ("module.", "bias", "`linear.b`, `norm.shift`, `cell.b`"),
    ("module.", "to cuda cpu", "`dtype=` when it is made: there are no devices"),
    ("module.", "children named_children named_modules", "`module.modules()`"),
    ("module.", "register_backward_hook", "`module.register_full_backward_hook(f)`"),
    ("module.", "register_buffer register_parameter add_module",
     "a plain attribute; to be saved, an array is a `tg.tensor(array)`"),
    ("module.", "requires_grad_", "`x.requires_grad = False` for each of `module.parameters()`"),
    ("module.", "weights trainable_weights get_weights set_weights",
     "`module.parameters()`, `module.state_dict()`, `module.load_state_dict(state)`"),
    ("module.", "fit compile predict",
     "a loop of `loss.backward()` and `optimizer.step()`, or `optim.truncated_bptt`"),
    ("nn.LSTM(", "num_layers", "`nn.Recurrent(nn.LSTM(3, 5), nn.LSTM(5, 5))`"),
    ("nn.LSTM(", "batch_first time_major",
     "`nn.Recurrent(nn.LSTM(3, 5), batch_first=True)`, or `cell(xs, batch_first=True)`"),
    ("nn.LSTM(", "bidirectional",
     "`nn.Bidirectional(nn.LSTM(3, 5), nn.LSTM(3, 5))`, called as it is or in `nn.Recurrent`"),
    ("nn.LSTM(", "input_size input_dim input_shape", "`inputs=`, the first argument"),
    ("nn.LSTM(", "hidden_size hidden_dim units features", "`hidden=`, the second argument"),
    ("nn.LSTM(", "proj_size", "`projection=`"),
    ("nn.LSTM(", "return_sequences return_state",
     '`nn.Recurrent(cell, readout="last")` or "all"; the state is always returned too'),
    ("nn.LSTM(", "go_backwards", "`nn.Recurrent(cell, reverse=True)`"),
    ("nn.LSTM(", "stateful", "the state that is returned, given to the next call"),
    ("nn.LSTM(", "dropout",
     "`nn.Recurrent(nn.LSTM(3, 5), nn.LSTM(5, 5), dropout=[0, 0.2])`: a rate before each cell"),
    ("nn.LSTM(", "recurrent_dropout", "`nn.VariationalDropout(cell, state=0.2)`"),
    ("nn.LSTM(", "use_bias", "`bias=`, of a cell that has the choice"),
    ("nn.LSTM(", "nonlinearity recurrent_activation",
     "`activation=` of RNN, `activations=` of LSTM and GRU"),
    ("nn.LSTM(", "unit_forget_bias", "`forget_bias=1.0`, as it is anyway"),
    ("nn.LSTM(", "kernel_initializer recurrent_initializer bias_initializer",
     "`cell.Wx.data = array` of the cell that was made"),
    ("nn.LSTM(", "reset_after linear_before_reset", '`reset="after"`, or a `convention=`'),
    ("nn.LSTM(", "device", NOTHING),
    ("nn.RNN(layer, ", "num_layers bidirectional input_size hidden_size units bias",
     "cells that were made with it: `nn.Recurrent(nn.LSTM(3, 5), nn.LSTM(5, 5))`"),
    ("nn.RNN(layer, ", "return_sequences return_state", '`readout="all"` or "last"'),
    ("nn.RNN(layer, ", "go_backwards time_major", "`reverse=True`, `batch_first=False`"),
    ("nn.RNN(layer, ", "stateful", "the state that is returned, given to the next call"),
    ("Bidirectional(", "merge_mode", '`merge="concat"`, "sum", "mul" or "mean"'),
    ("Bidirectional(", "layer backward_layer", "two cells, `forward` and `backward`"),
    ("nn.Linear(", "in_features input_size input_dim", "`inputs=`, the first argument"),
    ("nn.Linear(", "out_features output_size units features", "`outputs=`, the second argument"),
    ("nn.Linear(", "use_bias", "`bias=`"),
    ("nn.Linear(", "activation", "`tg.tanh(linear(x))`"),
    ("nn.Linear(", "device", NOTHING),
    ("nn.Embedding(", "num_embeddings vocab_size input_dim", "`count=`, the first argument"),
    ("nn.Embedding(", "embedding_dim output_dim features", "`size=`, the second argument"),
    ("nn.Embedding(", "padding_idx mask_zero", "`lengths=` or `mask=` of the layer that reads it"),
    ("nn.Dropout(", "rate", "`p=`, the first argument"),
    ("nn.Dropout(", "inplace", "nothing in its place: arrays do not change"),
    ("nn.LayerNorm(", "normalized_shape", "`size=`, the first argument"),
    ("nn.LayerNorm(", "bias elementwise_affine", "`shift=`"),
    ("nn.LayerNorm(", "eps epsilon", "nothing in its place: it is 1e-5"),
    ("layer(", "hx h0 initial_state", "`state=`, a tuple: `layer(xs, state)`"),
    ("layer(", "sequence_length seq_lengths seq_lens", "`lengths=`"),
    ("layer(", "training", "`layer.train()`, `layer.eval()`"),
    ("", "`pack_padded_sequence(x, lengths)`",
     "`layer(x, lengths=lengths)`, or a list of arrays in place of x"),
    ("", "`load_state_dict` of an `nn.LSTM`",
     "`tg.io.from_torch(state)`, `tg.io.load_torch(layer, state)`; back: `tg.io.to_torch(layer)`"),
    ("", "another framework's gates, biases, reset",
     '`nn.LSTM(..., convention="torch")`; `nn.convert(cell, "torch")`: exact, or refused'),
    ("optim.", "lr_scheduler CosineAnnealingLR StepLR LambdaLR",
     "`optimizer.lr = optim.cosine(optimizer.steps, ...)`"),
    ("optim.", "RMSProp adam sgd adamw rmsprop", "`optim.RMSprop`, `optim.Adam`, `optim.SGD`"),
    ("optim.", "clip_grad_norm_ clip_grad_value_ clip_by_global_norm",
     "`optim.clip_grad_norm(parameters, 1.0)`, `optim.clip_grad_value`"),
    ("optim.", "apply_updates", "`optimizer.step()`"),
    ("optim.Adam(", "learning_rate", "`lr=`"),
    ("optim.Adam(", "params", "`parameters=`: a module, or tensors, one optimiser for each group"),
    ("optim.Adam(", "weight_decay", "`optim.AdamW(..., weight_decay=...)`; SGD has it too"),
    ("optim.Adam(", "b1 b2 beta_1 beta_2", "`betas=(0.9, 0.999)`"),
    ("optim.Adam(", "epsilon", "`eps=`"),
    ("optim.Adam(", "alpha rho", "`decay=`"),
    ("optim.Adam(", "nesterov dampening amsgrad", "`momentum=` of SGD, or Adam as it is"),
    ("optim.Adam(", "clipnorm global_clipnorm", "`optim.clip_grad_norm` before `optimizer.step()`"),
)  # fmt: skip


class Absent:
    """An attribute that tensors have elsewhere: refused, saying what it is called here.

    A `__getattr__` of tensors would make Python look up every other attribute the slow way.
    """

    def __init__(self, name: str):
        self.name = name

    def __get__(self, x: Tensor | None, kind: type) -> Any:
        raise AttributeError(f"a tensor has no attribute {self.name!r}{foreign('x', self.name)}")


for _where, _words, _advice in ROWS:
    for _word in _words.split() if PLACES[_where] else ():
        ELSEWHERE[PLACES[_where], _word] = _advice
        if _where == "x.":
            setattr(Tensor, _word, Absent(_word))


def table() -> str:
    """The table of the conventions page: what it is called there, and here."""
    lines = ["| there | here |", "|---|---|"]
    for where, words, advice in ROWS:
        end = "=...)" if where.endswith(("(", ", ")) else ""
        called = [f"`{where}{word}{end}`" for word in words.split()] if where else [words]
        lines.append(f"| {', '.join(called)} | {advice} |")
    return "\n".join(lines)
