"""Windows of valid bars that are meant to break arithmetic, thousands at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from contract.modes import Matrix

PRICE = (1e-110, 1e110)
VOLUME = (1e-30, 1e30)
Rng = np.random.Generator


def _level(rng: Rng, m: int) -> Matrix:
    """A price level for each window: mostly anywhere in the accepted range, often at its ends."""
    exponent = rng.uniform(-109, 109, (m, 1))
    exponent[rng.random((m, 1)) < 0.5] *= 0.05
    edge = rng.random((m, 1))
    exponent = np.where(edge < 0.03, -110.0, np.where(edge > 0.97, 110.0, exponent))
    return 10.0**exponent


def walk(rng: Rng, m: int, t: int) -> Matrix:
    """Random walks with steps from 1e-12 to 0.1."""
    size = 10.0 ** rng.uniform(-12, -1, (m, 1))
    return _level(rng, m) * np.exp(np.cumsum(size * rng.standard_normal((m, t)), axis=1))


def flats(rng: Rng, m: int, t: int) -> Matrix:
    """Flat stretches with single steps between them, many windows flat as a whole."""
    moves = (rng.random((m, t)) < rng.choice([0.0, 0.02, 0.2], (m, 1))) * rng.standard_normal((m, t))
    return _level(rng, m) * np.exp(0.05 * np.cumsum(moves, axis=1))


def one_ulp(rng: Rng, m: int, t: int) -> Matrix:
    """Prices in which only the last bits move: differences are rounding noise."""
    level = _level(rng, m) * np.ones((m, t))
    return level + rng.integers(-2, 3, (m, t)) * np.spacing(level)


def decades(rng: Rng, m: int, t: int) -> Matrix:
    """Any price after any other, from 1e-110 to 1e110."""
    close = 10.0 ** rng.uniform(-110, 110, (m, t))
    held = rng.random((m, t)) < 0.7
    last = np.maximum.accumulate(np.where(held, 0, np.arange(t)), axis=1)
    return np.take_along_axis(close, last, axis=1)


def outliers(rng: Rng, m: int, t: int) -> Matrix:
    """Calm or flat prices with a bar or two at 1e9 times the level, or at a billionth of it."""
    calm = np.exp(rng.choice([0.0, 1e-9, 1e-2], (m, 1)) * rng.standard_normal((m, t)))
    hit = rng.random((m, t)) < 2.0 / t
    return np.where(hit, 1e9 ** rng.choice([-1.0, 1.0], (m, t)), calm) * np.clip(_level(rng, m), 1e-98, 1e98)


def near_denormal(rng: Rng, m: int, t: int) -> Matrix:
    """The smallest prices, an ulp apart: squares of differences come near the end of float64's range."""
    level = np.full((m, t), PRICE[0]) * (1.0 + rng.integers(0, 3, (m, 1)))
    return level + rng.integers(0, 2, (m, t)) * np.spacing(level)


def alternating(rng: Rng, m: int, t: int) -> Matrix:
    """Up and down by one factor for ever."""
    factor = 10.0 ** rng.uniform(-15, 9, (m, 1))
    swing = np.where(np.arange(t) % 2 == 0, 1.0, 1.0 + factor)
    return np.clip(_level(rng, m), 1e-100, 1e100) * swing


GENERATORS: dict[str, Callable[[Rng, int, int], Matrix]] = {
    function.__name__: function for function in (walk, flats, one_ulp, decades, outliers, near_denormal, alternating)
}


def _volumes(rng: Rng, m: int, t: int) -> Matrix:
    """Constant, none, all sizes, or calm with outliers; a share of every window's bars trades nothing."""
    kind = rng.integers(0, 4, (m, 1))
    calm = rng.lognormal(3.0, 1.0, (m, t))
    volume = np.where(kind == 0, 0.7 * 10.0 ** rng.integers(-28, 29, (m, 1)), calm)
    volume = np.where(kind == 1, 10.0 ** rng.uniform(-29.9, 29.9, (m, t)), volume)
    volume = np.where((kind == 2) & (rng.random((m, t)) < 0.03), calm * 1e9, volume)
    silent = rng.random((m, t)) < rng.choice([0.0, 0.1, 0.9, 1.0], (m, 1), p=[0.4, 0.3, 0.2, 0.1])
    return np.where(silent, 0.0, np.clip(volume, *VOLUME))


def _around(rng: Rng, close: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Open at the last close, at the close or beside it; high and low just around, or far away."""
    m, t = close.shape
    before = np.concatenate([close[:, :1], close[:, :-1]], axis=1)
    kind = rng.integers(0, 3, (m, 1))
    noise = 1.0 + 10.0 ** rng.uniform(-15, -2, (m, 1)) * rng.standard_normal((m, t)).clip(-3, 3)
    opened = np.clip(np.where(kind == 0, before, np.where(kind == 1, close, before * noise)), *PRICE)
    top, bottom = np.maximum(opened, close), np.minimum(opened, close)
    reach = np.where(rng.random((m, 1)) < 0.4, 0.0, 10.0 ** rng.uniform(-15, -1, (m, 1)))
    far = rng.random((m, t)) < 0.01 * (rng.random((m, 1)) < 0.2)
    high = np.where(far, PRICE[1], top * (1.0 + reach * rng.random((m, t))))
    low = np.where(far, PRICE[0], bottom * (1.0 - reach * rng.random((m, t))))
    return opened, np.clip(np.maximum(high, top), *PRICE), np.clip(np.minimum(low, bottom), *PRICE)


def windows(kind: str, m: int, t: int, seed: int) -> npt.NDArray[np.float64]:
    """Return (m, t, 5) valid bars of one kind."""
    rng = np.random.default_rng((seed, list(GENERATORS).index(kind)))
    close = np.clip(GENERATORS[kind](rng, m, t), *PRICE)
    opened, high, low = _around(rng, close)
    return np.stack([opened, high, low, close, _volumes(rng, m, t)], axis=2)
