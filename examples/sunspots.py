"""Sunspots, year by year: forecasts of the next year, and of sixty years without looking (S32).

    python examples/sunspots.py [--quick]

GRUs learn the years 1700 to 1948 in windows that carry their state on. Beside them are "as last
year", and a linear autoregression on nine years, which least squares fits at once: as good for the
next year, too tame for sixty. It takes ten seconds, and draws what one GRU foresaw. How long to
learn and how much to decay the weights were chosen on the years 1889 to 1948, from those before.
"""

import sys
import time

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn, optim

SEEDS, EPOCHS = (2, 7) if "--quick" in sys.argv else (5, 200)
HIDDEN, WINDOW, AHEAD, LAGS = 24, 40, 60, 9
began = time.perf_counter()
try:
    years, spots = data.sunspots()
except ModuleNotFoundError as missing:
    sys.exit(str(missing))
known = len(spots) - AHEAD
roots = np.sqrt(spots)  # the root is as noisy in years with many as with few
middle, scale = roots[:known].mean(), roots[:known].std()
series = ((roots - middle) / scale).astype(np.float32)
to_spots = lambda x: np.maximum(middle + scale * np.ravel(x), 0) ** 2


class Forecaster(nn.Module):
    def __init__(self, rng):
        self.cell = nn.GRU(1, HIDDEN, bias=True, rng=rng)
        self.dropout = nn.Dropout(0.2, rng=rng)
        self.output = nn.Linear(HIDDEN, 1, rng=rng)

    def __call__(self, x, state=None):
        """What comes after each x (T, B, 1), as a change of x, and the state to go on with."""
        hs, state = self.cell(x, state)
        return x + self.output(self.dropout(hs)), state

    def loss(self, x, y, state):
        guess, state = self(x[..., None], state)
        return tg.mean_squared_error(guess, y[..., None]), state


def learn(seed):
    model = Forecaster(np.random.default_rng(seed))
    optimizer = optim.AdamW(model, lr=3e-3, weight_decay=1.0)
    for _ in range(EPOCHS):
        windows = data.windows(series[:known], 1, WINDOW)
        list(optim.truncated_bptt(model.loss, windows, optimizer, max_norm=1.0))
    return model.eval()


def forecast(model):
    """The last years, each from all that were before it; and all from those that were known."""
    with tg.no_grad():
        each, _ = model(series[:-1, None, None])
        x, state = model(series[:known, None, None])
        x, path = x[-1:], []
        for _ in range(AHEAD):
            path.append(x.item())
            x, state = model(x, state)  # it reads its own forecast
    return to_spots(each.data[-AHEAD:]), to_spots(path)


def report(name, *forecasts):
    errors = [np.sqrt(np.mean((guess - spots[known:]) ** 2)) for guess in forecasts]
    print("{:16} {:9.1f} {:10.1f}".format(name, *errors))


print(f"root mean squared error, {years[known]} to {years[-1]}\n{'':16} next year   {AHEAD} years")
report("as last year", spots[known - 1 : -1], spots[known - 1])

past = np.stack([series[k : k - LAGS] for k in range(LAGS)] + [np.ones(len(series) - LAGS)], 1)
weights, *_ = np.linalg.lstsq(past[: known - LAGS], series[LAGS:known])
line = list(series[:known])
for _ in range(AHEAD):
    line.append(np.append(line[-LAGS:], 1) @ weights)
line = to_spots(line[known:])
report("autoregression", to_spots(past[-AHEAD:] @ weights), line)

forecasts = [forecast(learn(seed)) for seed in range(SEEDS)]
for seed in range(SEEDS):
    report(f"GRU, seed {seed}", *forecasts[seed])
report("mean of those", *np.mean(forecasts, axis=0))

curves = {
    "what came": (years[-2 * AHEAD :], spots[-2 * AHEAD :]),
    "GRU, next year": (years[known:], forecasts[0][0]),
    f"GRU, {AHEAD} years": (years[known:], forecasts[0][1]),
    f"autoregression, {AHEAD} years": (years[known:], line),
}
tg.view.curve(curves, title="sunspots", x_label="year").save("sunspots.svg")
print(f"wrote sunspots.svg after {time.perf_counter() - began:.0f} s")
