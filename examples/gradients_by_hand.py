"""Backpropagation through time by hand, next to the engine's, sum by sum.

python examples/gradients_by_hand.py
"""

import numpy as np

import tinygrad_rnn as tg

T, I, H = 5, 3, 4
rng = np.random.default_rng(0)
cell = tg.nn.RNN(I, H, dtype=np.float64, rng=rng)
x = tg.tensor(rng.normal(size=(T, I)))

# The engine: s(t) = tanh(x(t) U + s(t-1) W + b), L = Σ_t ½ |s(t)|².
states, _ = cell(x)
loss = (states * states).sum() / 2
loss.backward()

# By hand. δ(k) = f'(s*(k)) ⊙ (∂L(k)/∂s(k) + W δ(k+1)), from the last step to the first;
# each step adds its own term to the shared weights' gradients.
s = np.concatenate([np.zeros((1, H)), states.data])
U, W = cell.Wx.data, cell.Wh.data
dU, dW, db, arriving = np.zeros_like(U), np.zeros_like(W), np.zeros(H), np.zeros(H)
print("step   |δ(k)|   |term of ∂L/∂W|")
for k in reversed(range(T)):
    delta = (1 - s[k + 1] ** 2) * (s[k + 1] + arriving)
    term = np.outer(s[k], delta)
    dU, dW, db = dU + np.outer(x.data[k], delta), dW + term, db + delta
    arriving = delta @ W.T
    print(f"{k:4}  {np.linalg.norm(delta):7.4f}   {np.linalg.norm(term):7.4f}")

for name, by_hand, engine in (
    ("∂L/∂U = Σ δ(k) x(k)ᵀ", dU, cell.Wx.grad),
    ("∂L/∂W = Σ δ(k) s(k-1)ᵀ", dW, cell.Wh.grad),
    ("∂L/∂b = Σ δ(k)", db, cell.b.grad),
):
    print(f"{name:24} largest difference {np.abs(by_hand - engine.data).max():.1e}")
