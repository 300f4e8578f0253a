"""`qtfeat.ta`: every indicator as a function, in arrays and series, with parameters by place and by name."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qtfeat as qf
from barsets import BARSETS
from qtfeat.errors import BadBarError, FeatureSpecError, SchemaError

BARS = BARSETS["regimes"](200, 1)
DATA: dict[str, Any] = BARS.columns() | {"time": BARS.time.astype("datetime64[ns]")}
CATALOGUE = qf.catalog().to_pylist()
NAMES = sorted({row["id"] for row in CATALOGUE})
TOOL = Path(__file__).resolve().parent.parent / "tools" / "ta_stub.py"


def parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(qf.ta, name)).parameters)


def inputs(name: str) -> list[str]:
    return [p for p in parameters(name) if p in DATA]


def expected(spec: str, numerics: Any = "safe") -> dict[str, np.ndarray]:
    found = qf.compute(DATA, qf.FeatureSet([spec], numerics, fill=None), time="time")
    del found["time"]
    return found


def test_names_are_the_catalogue() -> None:
    assert qf.ta.__all__ == dir(qf.ta) == NAMES
    with pytest.raises(AttributeError, match="no indicator 'rsx'"):
        _ = qf.ta.rsx
    assert qf.ta.rsi is qf.ta.rsi


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator(name: str) -> None:
    function = getattr(qf.ta, name)
    wanted = expected(name)
    for found in (
        function(*(DATA[c] for c in inputs(name))),
        function(**{c: DATA[c] for c in inputs(name)}),
    ):
        outputs = [row["output"] for row in CATALOGUE if row["id"] == name]
        if len(outputs) == 1:
            found = {outputs[0]: found}
        assert list(found) == outputs
        for x, y in zip(found.values(), wanted.values(), strict=True):
            assert isinstance(x, np.ndarray)
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", NAMES)
def test_signature_and_doc(name: str) -> None:
    rows = [row for row in CATALOGUE if row["id"] == name]
    given = {
        p: v.default
        for p, v in parameters(name).items()
        if p not in DATA and v.kind is not inspect.Parameter.KEYWORD_ONLY
    }
    shown = ", ".join(f"{k}={_shown(v)}" for k, v in given.items())
    assert shown == rows[0]["params"]
    assert rows[0]["source"] in getattr(qf.ta, name).__doc__
    # the defaults, said out loud, change nothing
    data = [DATA[c] for c in inputs(name)]
    said, plain = getattr(qf.ta, name)(*data, *given.values()), getattr(qf.ta, name)(*data, **given)
    np.testing.assert_equal(said, getattr(qf.ta, name)(*data))
    np.testing.assert_equal(plain, said)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize(
    ("call", "spec"),
    [
        (lambda d: qf.ta.rsi(d["close"], 7), "rsi(7)"),
        (lambda d: qf.ta.rsi(d["close"], np.int64(7)), "rsi(7)"),
        (lambda d: qf.ta.rsi(d["close"], period=7, smoothing="sma"), 'rsi(7, smoothing="sma")'),
        (lambda d: qf.ta.atr(d["high"], d["low"], d["close"], 5, tr0=True), "atr(5, tr0=true)"),
        (lambda d: qf.ta.atr(d["high"], d["low"], close=d["close"], period=5), "atr(5)"),
        (lambda d: qf.ta.ema(d["close"], 5, "first"), 'ema(5, seed="first")'),
        (lambda d: qf.ta.bb(d["close"], 10, 2.5)["pct"], "bb(10, 2.5).pct"),
        (lambda d: qf.ta.bb(d["close"], 10, np.float32(2.5))["pct"], "bb(10, 2.5).pct"),
        (lambda d: qf.ta.volatility(d["close"], 10, ddof=1), "volatility(10, ddof=1)"),
    ],
)
def test_parameters(call: Any, spec: str) -> None:
    np.testing.assert_array_equal(call(DATA), *expected(spec).values())


def test_numerics() -> None:
    for numerics in ("talib", "legacy"):
        np.testing.assert_array_equal(qf.ta.rsi(DATA["close"], numerics=numerics), expected("rsi", numerics)["rsi"])


def test_pandas_series() -> None:
    pd = pytest.importorskip("pandas")
    index = pd.date_range("2024-01-01", periods=200, freq="h", tz="Asia/Tokyo")
    close = pd.Series(DATA["close"], index=index, name="close")
    rsi = qf.ta.rsi(close)
    assert isinstance(rsi, pd.Series)
    assert rsi.name == "rsi"
    assert rsi.index.equals(index)
    np.testing.assert_array_equal(rsi.to_numpy(), expected("rsi")["rsi"])
    macd = qf.ta.macd(close)
    assert [s.name for s in macd.values()] == ["macd", "macd_signal", "macd_hist"]
    nullable = close.convert_dtypes()
    nullable.iloc[50] = pd.NA
    assert qf.ta.rsi(nullable, on_bad="null").isna().sum() == 14 + 2
    hours = qf.ta.hour_sin(pd.Series(index))
    np.testing.assert_array_equal(
        hours.to_numpy(), qf.ta.hour_sin(index.tz_convert("UTC").tz_localize(None).to_numpy())
    )


def test_polars_series() -> None:
    pl = pytest.importorskip("polars")
    close = pl.Series("close", DATA["close"])
    rsi = qf.ta.rsi(close)
    assert isinstance(rsi, pl.Series)
    assert (rsi.name, rsi.dtype, rsi.null_count()) == ("rsi", pl.Float64, 14)
    np.testing.assert_array_equal(rsi.to_numpy(), expected("rsi")["rsi"])
    times = pl.Series(DATA["time"])
    np.testing.assert_array_equal(qf.ta.dow_cos(times).to_numpy(), expected("dow_cos")["dow_cos"])


def test_other_arrays() -> None:
    close = DATA["close"]
    twice = np.repeat(close, 2)[::2]
    assert not twice.flags.c_contiguous
    for values in (list(close), twice, close.astype(">f8").astype(np.float64)):
        np.testing.assert_array_equal(qf.ta.rsi(values), expected("rsi")["rsi"])
    assert qf.ta.sma([1, 2, 3], 3)[2] == 2.0
    assert qf.ta.rsi(np.array([])).shape == (0,)
    seconds = DATA["time"].astype("datetime64[s]").astype(np.int64)
    np.testing.assert_array_equal(qf.ta.hour_cos(seconds, time_unit="s"), expected("hour_cos")["hour_cos"])


def test_errors() -> None:
    close = DATA["close"]
    with pytest.raises(SchemaError, match=r"high, low, close, then its parameters .*close is missing") as missing:
        qf.ta.atr(DATA["high"], DATA["low"])
    assert missing.value.column == "close"
    with pytest.raises(SchemaError, match="ndarray is no parameter"):
        qf.ta.rsi(close, DATA["high"])
    with pytest.raises(FeatureSpecError, match="period"):
        qf.ta.rsi(close, 0)
    with pytest.raises(FeatureSpecError):
        qf.ta.rsi(close, length=14)
    with pytest.raises(FeatureSpecError):
        qf.ta.rsi(close, 14, "wilder", 3)
    with pytest.raises(SchemaError, match="rows"):
        qf.ta.atr(DATA["high"], DATA["low"], close[:-1])
    with pytest.raises(SchemaError, match="axes"):
        qf.ta.rsi(close.reshape(2, -1))
    with pytest.raises(SchemaError):
        qf.ta.rsi(np.array(["a", "b"]))
    with pytest.raises(SchemaError, match="numerics"):
        qf.ta.rsi(close, numerics="quick")
    with pytest.raises(SchemaError, match="time_unit"):
        qf.ta.hour_sin(DATA["time"].astype(np.int64))
    bad = close.copy()
    bad[9] = -1.0
    with pytest.raises(BadBarError) as error:
        qf.ta.rsi(bad)
    assert (error.value.row, error.value.column, error.value.value) == (9, "close", -1.0)
    assert np.isnan(qf.ta.rsi(bad, on_bad="null")[9])


def test_the_stub_is_what_the_catalogue_says() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
