"""Numbers that were measured: handwritten digits, sunspots, carbon dioxide."""

from __future__ import annotations

import numpy as np

from .packages import carried


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: images, float32 (1797, 8, 8) from 0 to 1, and what each shows, int64.

    Read row by row an image is a sequence of 8 steps: `images.swapaxes(0, 1)` is (T, B, features).
    Source: scikit-learn's copy of the test set of E. Alpaydin and C. Kaynak, Optical Recognition
    of Handwritten Digits (UCI, 1998), in 16 levels of grey, by 13 writers; no writer is marked.
    Licence: CC BY 4.0.

    Raises ModuleNotFoundError without scikit-learn, which is not imported.

    >>> images, labels = tg.data.digits()
    >>> images.shape, labels[:4].tolist()
    ((1797, 8, 8), [0, 1, 2, 3])
    """
    import gzip  # here alone

    with gzip.open(carried("data.digits", "sklearn", "datasets/data/digits.csv.gz")) as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float32)
    return (table[:, :-1] / 16).reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def sunspots() -> tuple[np.ndarray, np.ndarray]:
    """Sunspots: the years 1700 to 2008, int64 (309,), and the mean number of each, float64.

    Source: statsmodels' copy of the yearly numbers of the National Geophysical Data Center.
    Licence: public domain.

    Raises ModuleNotFoundError without statsmodels, which is not imported.

    >>> years, means = tg.data.sunspots()
    >>> int(years[0]), float(means[0])
    (1700, 5.0)
    """
    path = carried("data.sunspots", "statsmodels", "datasets/sunspots/sunspots.csv")
    year, activity = np.loadtxt(path, delimiter=",", skiprows=1, unpack=True)
    return year.astype(np.int64), activity


def co2() -> tuple[np.ndarray, np.ndarray]:
    """Carbon dioxide in the air of Mauna Loa: 2,284 weeks, datetime64[D], and ppm, float64.

    The weeks run from March 1958 to December 2001; 59 were not measured and are NaN, so
    `~np.isnan(ppm)` is a mask. Source: statsmodels' copy of C. D. Keeling and T. P. Whorf,
    Atmospheric CO2 concentrations derived from flask air samples (CDIAC, 2004).
    Licence: public domain.

    Raises ModuleNotFoundError without statsmodels, which is not imported.

    >>> weeks, ppm = tg.data.co2()
    >>> str(weeks[0]), int(np.isnan(ppm).sum())
    ('1958-03-29', 59)
    """
    path = carried("data.co2", "statsmodels", "datasets/co2/co2.csv")
    rows = [line.split(",") for line in path.read_text("ascii").splitlines()[1:]]
    days = np.array([f"{day[:4]}-{day[4:6]}-{day[6:]}" for day, _ in rows], "datetime64[D]")
    return days, np.array([ppm or "nan" for _, ppm in rows], np.float64)
