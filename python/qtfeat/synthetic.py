"""Synthetic windows of bars for trades whose real bars are gone. They are no market: see `synthetic_windows`.

An array cannot say where it came from. `leaks` tells which windows know their outcome, and `synthetic_labels` carries
that on as `Labels.label_leak`, which everything made from the labels has to keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat import _core, _tables
from qtfeat._columns import count, wide
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, _options, as_feature_set, thread_count
from qtfeat.labels import Labels, sides

Kind = Literal["context", "outcome"]
Unit = Literal["percent", "fraction"]
Floats = npt.NDArray[np.float64]

_HOUR = np.timedelta64(3_600_000_000_000, "ns")


def synthetic_windows(
    pnl_pct: npt.ArrayLike,
    bars: int = 100,
    seed: int = 42,
    kind: Kind = "context",
    *,
    rho: float = 0.0,
    signal_bars: int = 10,
    volatility: float = 0.01,
    tick: float = 0.0,
    unit: Unit = "percent",
    threads: int | None = None,
) -> Floats:
    """Draw one window of bars for each closed trade.

    - "context" is the path before the entry: a random walk that has nothing to do with the outcome, except that the
      log return over its last `signal_bars` bars, `log(close[-1] / close[-1 - signal_bars])`, has correlation `rho`
      with the outcome, standardised over all of `pnl_pct`. With `rho` 0 there is nothing to learn, and with another
      one only what was planted.
    - "outcome" is the path from entry to exit, as an older engine drew it: the first open is the entry and the last
      close is the entry times one plus the outcome, exactly (with a `tick`, the nearest multiple). **Whatever is
      computed from it knows the label.** It is here to reproduce old models and to show that the gates stop them.

    First prices are log-uniform in 1e-4..1e5 and volumes over eight decades, so no level tells anything. Volume is
    above 0 and rises with the size of the return.

    Args:
        pnl_pct: (n,) outcomes of the trades, in per cent (see `unit`).
        bars: bars of a window.
        seed: same seed, same bits, on every platform and with any number of threads. Each window has a random stream
            of its own: more windows do not change the ones before, but for the standardisation of `rho`.
        kind: "context" or "outcome".
        rho: planted correlation, -1..1; "context" only.
        signal_bars: bars that carry it, fewer than `bars`; "context" only.
        volatility: standard deviation of the log return of a bar, 1e-6..0.1.
        tick: prices are multiples of this share of the window's first price, 0..0.1; 0 for any price.
        unit: "percent", or "fraction" for outcomes such as 0.012.
        threads: at most so many threads; None takes all processors.

    Returns:
        (n, bars, 5) float64: open, high, low, close, volume; every bar is accepted by `qtfeat.windows`.

    Raises:
        SchemaError: a setting outside its range, or an outcome (`.column`, `.row`) that is missing, not finite, or,
            for "outcome", a loss of everything.
    """
    outcomes = _outcomes(pnl_pct, unit)
    config = _config(bars, seed, kind, rho, signal_bars, volatility, tick)
    out = np.empty((len(outcomes), config["bars"], 5))
    _core.synthetic_windows(outcomes, config, thread_count(threads), out)
    return out


def synthetic_features(
    pnl_pct: npt.ArrayLike,
    fs: FeatureSet | str | Iterable[str],
    bars: int = 100,
    seed: int = 42,
    kind: Kind = "context",
    *,
    rho: float = 0.0,
    signal_bars: int = 10,
    volatility: float = 0.01,
    tick: float = 0.0,
    unit: Unit = "percent",
    dtype: str = "float64",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Features of the last row of synthetic windows, which are never written out.

    The bits are those of `qf.windows(qf.synthetic_windows(pnl_pct, ...), fs)`. Arguments and errors as there; a set
    with extra columns or calendar features is a SchemaError, for windows have neither.

    Returns:
        (n, F) of `dtype`; NaN where `bars` are fewer than the warm-up.
    """
    fs = as_feature_set(fs)
    outcomes = _outcomes(pnl_pct, unit)
    config = _config(bars, seed, kind, rho, signal_bars, volatility, tick)
    options = _options(None, "raise", "ignore", None, threads, dtype)
    result = _core.synthetic_features(fs._core, outcomes, config, options, fs.fill is not None)
    # A fill looks at every row of a window, so there they have to be written out after all.
    return result if fs.fill is None else np.ascontiguousarray(_tables.fill_windows(result)[:, -1, :])


def leaks(kind: Kind, rho: float = 0.0) -> bool:
    """True if windows of this kind, drawn for real trades, know anything of their outcome.

    "outcome" always does. "context" does with a planted `rho`: fine for testing what can be learnt, no evidence of
    anything else.
    """
    return kind == "outcome" or rho != 0.0


def synthetic_labels(
    pnl_pct: npt.ArrayLike, kind: Kind = "context", *, threshold: float = 0.005, unit: Unit = "percent"
) -> Labels:
    """Labels to go with `synthetic_windows` and `synthetic_features` of the same outcomes.

    `value` and `ret` are the outcomes as fractions, classes as in `make_labels`. Synthetic trades have no dates: they
    follow each other here, one every two hours, each over after one, so that a walk-forward can split them.
    `label_leak` is True for "outcome". (Outcomes that are drawn for a test may have a planted `rho`; `trade_dataset`,
    whose outcomes are real, marks that too.)

    Raises:
        SchemaError: an outcome that is missing or not finite, or a bad setting.
    """
    outcomes = _outcomes(pnl_pct, unit)
    _known(kind)
    bad = ~np.isfinite(outcomes)
    if bad.any():
        row = int(np.argmax(bad))
        raise SchemaError(f"pnl_pct, row {row}: {outcomes[row]} is no outcome", column="pnl_pct", row=row)
    t = np.datetime64("2000-01-01", "ns") + 2 * _HOUR * np.arange(len(outcomes))
    side = sides(outcomes, threshold)
    return Labels(outcomes, outcomes.copy(), side, t, t + _HOUR, "trade", 0, threshold, label_leak=kind == "outcome")


def _known(kind: str) -> None:
    if kind not in ("context", "outcome"):
        raise SchemaError(f"kind must be 'context' or 'outcome', not {kind!r}")


def _outcomes(pnl_pct: npt.ArrayLike, unit: str) -> Floats:
    if unit not in ("percent", "fraction"):
        raise SchemaError(f"unit must be 'percent' or 'fraction', not {unit!r}")
    values = wide(pnl_pct, "pnl_pct")
    return values / 100.0 if unit == "percent" else values.copy()


def _config(
    bars: int, seed: int, kind: str, rho: float, signal_bars: int, volatility: float, tick: float
) -> _core._WindowConfig:
    _known(kind)
    numbers = {"rho": rho, "volatility": volatility, "tick": tick}
    for name, value in numbers.items():
        if not isinstance(value, int | float | np.integer | np.floating) or not math.isfinite(value):
            raise SchemaError(f"{name} must be a finite number, not {value!r}")
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**64:
        raise SchemaError(f"seed must be a whole number in 0..2^64-1, not {seed!r}")
    if kind == "outcome" and rho != 0.0:
        raise SchemaError("rho belongs to kind='context': an outcome window ends at its outcome")
    context = None if kind == "outcome" else (float(rho), count(signal_bars, "signal_bars"))
    length = count(bars, "bars")
    if length > 100_000:
        raise SchemaError(f"bars must be in 1..100000, got {length}")
    return {
        "bars": length,
        "seed": int(seed),
        "context": context,
        "volatility": float(volatility),
        "tick": float(tick),
    }
