"""What one op costs on the tape: an LSTM step by step, against the same steps in PyTorch eager.

    pip install '.[bench]' && python tests/benchmarks/eager.py

Both run forward and backward through a hand-written cell, with the same formula and sizes, one
thread, in turn within one process; the median of the paired ratios is printed. Above 1 the library
is faster. No test asserts a time.
"""

import argparse
import json
import statistics
import time

import numpy as np

import tinygrad_rnn as tg

SIZES = [(1, 100, 8, 16), (16, 50, 32, 32), (32, 35, 64, 64), (32, 100, 128, 128)]


def ours(B, T, I, H):
    cell = tg.nn.LSTM(I, H, rng=0)
    xs = np.random.default_rng(0).normal(size=(T, B, I)).astype(np.float32)

    def run():
        ys = tg.unroll(cell.step, cell.begin(B), xs)[0]
        cell.zero_grad()
        (ys * ys).sum().backward()

    return run


def theirs(B, T, I, H):
    import torch

    torch.set_num_threads(1)
    Wx = torch.randn(I, 4 * H).div_(I**0.5).requires_grad_()
    Wh = torch.randn(H, 4 * H).div_(H**0.5).requires_grad_()
    b = torch.zeros(4 * H, requires_grad=True)
    xs = torch.randn(T, B, I)

    def run():
        h, c, ys = torch.zeros(B, H), torch.zeros(B, H), []
        for x in xs.unbind(0):
            i, f, g, o = (x @ Wx + h @ Wh + b).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            ys.append(h)
        for w in (Wx, Wh, b):
            w.grad = None
        y = torch.stack(ys)
        (y * y).sum().backward()

    return run


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15, help="how often each is run")
    parser.add_argument("--json", metavar="FILE", help="write the rows here too")
    options = parser.parse_args()
    rows = []
    print(f"{'(B, T, I, H)':>20} {'ours ms':>9} {'torch ms':>9} {'us a step':>10} {'ratio':>6}")
    for size in SIZES:
        one, other = ours(*size), theirs(*size)
        for run in (one, other, one, other):
            run()
        pairs = [(seconds(one), seconds(other)) for _ in range(options.pairs)]
        mine, torchs = (statistics.median(p[k] for p in pairs) for k in (0, 1))
        ratio = statistics.median(b / a for a, b in pairs)
        rows.append({"size": size, "ours_s": mine, "torch_s": torchs, "ratio": ratio})
        print(
            f"{size!s:>20} {mine * 1e3:9.2f} {torchs * 1e3:9.2f} "
            f"{mine / size[1] * 1e6:10.0f} {ratio:6.2f}"
        )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
