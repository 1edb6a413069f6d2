"""The formulas of docs/notes.md in plain NumPy, and backpropagation through time as sums by hand.

Nothing here is imported from the library: a reference shares no code with what it checks.
"""

import numpy as np


def sigma(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# -- formulas forward: states h (and c) after every step, index 0 is the state before ----------


def rnn(xs, h, Wx, Wh, b):
    path = [h]
    for x in xs:
        path.append(np.tanh(x @ Wx + path[-1] @ Wh + b))
    return np.array(path)


def lstm(xs, h, c, Wx, Wh, b):
    H = h.shape[1]
    gate = lambda k, a: a[:, k * H : (k + 1) * H]
    hs, cs, gates = [h], [c], []
    for x in xs:
        a = np.concatenate([x, hs[-1]], 1) @ np.concatenate([Wx, Wh], 0) + b
        i, f, g, o = sigma(gate(0, a)), sigma(gate(1, a)), np.tanh(gate(2, a)), sigma(gate(3, a))
        cs.append(f * cs[-1] + i * g)
        hs.append(o * np.tanh(cs[-1]))
        gates.append((i, f, g, o))
    return np.array(hs), np.array(cs), gates


def gru(xs, h, Wx, Wh, Wn, b):
    H = h.shape[1]
    Wz, Wr = Wh[:, :H], Wh[:, H:]
    Uz, Ur, Un = Wx[:, :H], Wx[:, H : 2 * H], Wx[:, 2 * H :]
    path, gates = [h], []
    for x in xs:
        h = path[-1]
        z = sigma(h @ Wz + x @ Uz + b[:H])
        r = sigma(h @ Wr + x @ Ur + b[H : 2 * H])
        n = np.tanh((r * h) @ Wn + x @ Un + b[2 * H :])
        path.append((1 - z) * h + z * n)
        gates.append((z, r, n))
    return np.array(path), gates


# -- backward by hand: given the cotangent of every output, those of all that went in -----------


def rnn_bptt(xs, hs, g, Wx, Wh):
    """S13 and S14: δ_k = f'(s*_k) ⊙ (g_k + Wᵀ δ_{k+1}), ∂L/∂W = Σ δ_k s_{k-1}ᵀ."""
    dx = np.zeros_like(xs)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[1])
    arriving = np.zeros_like(hs[0])
    for k in reversed(range(len(xs))):
        delta = (1 - hs[k + 1] ** 2) * (g[k] + arriving)
        dWx += xs[k].T @ delta
        dWh += hs[k].T @ delta
        db += delta.sum(0)
        dx[k] = delta @ Wx.T
        arriving = delta @ Wh.T
    return {"x": dx, "h": arriving, "Wx": dWx, "Wh": dWh, "b": db}


def lstm_bptt(xs, hs, cs, gates, g, Wx, Wh):
    dx = np.zeros_like(xs)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros(Wh.shape[1])
    dh, dc = np.zeros_like(hs[0]), np.zeros_like(cs[0])
    for k in reversed(range(len(xs))):
        i, f, candidate, o = gates[k]
        dh = dh + g[k]
        squashed = np.tanh(cs[k + 1])
        dc = dc + dh * o * (1 - squashed**2)
        delta = np.concatenate(
            [
                dc * candidate * i * (1 - i),
                dc * cs[k] * f * (1 - f),
                dc * i * (1 - candidate**2),
                dh * squashed * o * (1 - o),
            ],
            1,
        )
        dWx += xs[k].T @ delta
        dWh += hs[k].T @ delta
        db += delta.sum(0)
        dx[k], dh, dc = delta @ Wx.T, delta @ Wh.T, dc * f
    return {"x": dx, "h": dh, "c": dc, "Wx": dWx, "Wh": dWh, "b": db}


def gru_bptt(xs, hs, gates, g, Wx, Wh, Wn):
    H = hs.shape[2]
    dx = np.zeros_like(xs)
    dWx, dWh, dWn, db = (np.zeros_like(w) for w in (Wx, Wh, Wn, np.zeros(3 * H)))
    dh = np.zeros_like(hs[0])
    for k in reversed(range(len(xs))):
        z, r, n = gates[k]
        dh = dh + g[k]
        dn = dh * z * (1 - n**2)
        dz = dh * (n - hs[k]) * z * (1 - z)
        through = dn @ Wn.T
        dr = through * hs[k] * r * (1 - r)
        delta = np.concatenate([dz, dr, dn], 1)
        dWx += xs[k].T @ delta
        dWh += hs[k].T @ delta[:, : 2 * H]
        dWn += (r * hs[k]).T @ dn
        db += delta.sum(0)
        dx[k] = delta @ Wx.T
        dh = dh * (1 - z) + through * r + delta[:, : 2 * H] @ Wh.T
    return {"x": dx, "h": dh, "Wx": dWx, "Wh": dWh, "Wn": dWn, "b": db}
