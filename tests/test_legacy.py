"""The `legacy` profile against the pandas formulas of the engine that it reproduces."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import barsets
import qtfeat as qf

EPS = 1e-8
MARKETS = ["random_walk", "flat", "monotone_up", "monotone_down", "volume_gaps", "regimes"]


def _frame(name: str) -> pd.DataFrame:
    b = barsets.BARSETS[name](600, 11)
    return pd.DataFrame({"open": b.open, "high": b.high, "low": b.low, "close": b.close, "volume": b.volume})


def _rolling(x: pd.Series, n: int, what: str) -> pd.Series:
    """`x.rolling(n).mean()` or `.std()`, window by window: pandas' running sums keep residue of old values."""
    windows = np.lib.stride_tricks.sliding_window_view(x.to_numpy(), n)
    values = windows.mean(axis=1) if what == "mean" else windows.std(axis=1, ddof=1)
    # NumPy's mean of a constant is off by a rounding, which a division by 1e-8 would make visible.
    constant = windows.max(axis=1) == windows.min(axis=1)
    values = np.where(constant, windows[:, 0] if what == "mean" else 0.0, values)
    return pd.Series(np.concatenate([np.full(n - 1, np.nan), values]), index=x.index)


def _old_engine(df: pd.DataFrame) -> pd.DataFrame:
    """The old formulas, clipped and filled as the old engine did."""
    close, volume = df["close"], df["volume"]
    delta = close.diff()
    gain = _rolling(delta.where(delta > 0, 0), 14, "mean")
    loss = _rolling((-delta).where(-delta > 0, 0), 14, "mean")
    rs = gain / (loss + EPS)
    mid, std = _rolling(close, 20, "mean"), _rolling(close, 20, "std")
    upper, lower = mid + 2 * std, mid - 2 * std
    fast, slow = (close.ewm(span=n, adjust=False).mean() for n in (12, 26))
    line = fast - slow
    out = pd.DataFrame(
        {
            "rsi": 100 - 100 / (1 + rs + EPS),
            "bb_pct": ((close - lower) / (upper - lower + EPS)).clip(-100, 100),
            "ret": close / close.shift(1) - 1,
            "volume_change": volume / volume.shift(1) - 1,
            "ema": close.ewm(span=20, adjust=False).mean(),
            "macd": line,
            "macd_signal": line.ewm(span=9, adjust=False).mean(),
            "momentum": close - close.shift(10),
            "volatility": _rolling(close / close.shift(1) - 1, 20, "std"),
        }
    )
    return out.replace([np.inf, -np.inf], 0.0).clip(-1e6, 1e6)


SPECS = [
    "rsi(14)",
    "bb(20,2).pct",
    "ret",
    "volume_change",
    "ema(20)",
    "macd(12,26,9).line",
    "macd(12,26,9).signal",
    "momentum(10)",
    "volatility(20)",
]


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "bare"])
@pytest.mark.parametrize("market", MARKETS)
def test_the_old_formulas(market: str, filled: bool) -> None:
    df = _frame(market)
    fs = qf.FeatureSet(SPECS, numerics="legacy", **({} if filled else {"fill": None}))
    got = qf.compute(df, fs)
    want = _old_engine(df)
    if filled:
        want = want.ffill().bfill().fillna(0.0)
        assert not got.isna().any().any()
    for name in fs.columns:
        g, w = got[name].to_numpy(), want[name].to_numpy()
        assert (np.isnan(g) == np.isnan(w)).all(), name
        np.testing.assert_allclose(g, w, rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_fill_is_per_symbol() -> None:
    df = pd.concat([_frame("random_walk").assign(symbol="a"), _frame("regimes").assign(symbol="b")], ignore_index=True)
    fs = qf.FeatureSet(SPECS, numerics="legacy")
    both = qf.compute(df, fs, by="symbol")
    for symbol, part in df.groupby("symbol"):
        alone = qf.compute(part.drop(columns="symbol"), fs)
        pd.testing.assert_frame_equal(both.loc[part.index, fs.columns], alone, check_exact=True, obj=str(symbol))
