"""Tables so long that several threads look at their symbols: the same groups, whatever the number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import qtfeat as qf

# A thread of their own for each 2^18 rows.
ROWS = 3 * 2**18 + 77
FS = qf.FeatureSet(
    ["rise = close - lag(close, 1)", "up = high - lag(high, 1)", "back = close - lag(close, 2)"], fill=None
)

rng = np.random.default_rng(3)
PATTERNS = {
    "one symbol": np.zeros(ROWS, dtype=np.int64),
    "symbols one after the other": np.repeat(np.arange(11), ROWS // 11 + 1)[:ROWS],
    "symbols side by side": np.arange(ROWS) % 7,
    "runs of any length": np.repeat(rng.integers(0, 5, 2_000), rng.integers(1, 2 * ROWS // 2_000, 2_000))[:ROWS],
    "symbols that are listed and leave": np.concatenate(
        [
            np.tile(order, ROWS // 8 // len(order))
            for order in ([0, 1, 2], [4, 0, 1, 2], [4, 2], [2, 4], *[[2, 0, 3, 10, 1, 5]] * 4)
        ]
        + [rng.integers(0, 11, ROWS)]
    ),
    "moments with a symbol twice": np.resize([3, 1, 3, 2], ROWS),
    "a moment that is as long as half the table": np.resize(rng.integers(0, 11, ROWS // 2 + 1), ROWS),
    "a last row alone": np.concatenate([np.zeros(ROWS - 1, dtype=np.int64), [1]]),
}
NAMES = np.array(
    [
        "a",
        "bb",
        "a symbol of more than twelve bytes",
        "a symbol of more than twelve, too",
        "",
        "b",
        "é",
        "g",
        "h",
        "i",
        "j",
    ]
)
COLUMNS = {
    "int64": lambda codes: pa.array(codes),
    "int8": lambda codes: pa.array(codes.astype(np.int8)),
    "string": lambda codes: pa.array(NAMES[codes]),
    "large_string": lambda codes: pa.array(NAMES[codes], pa.large_string()),
    "string_view": lambda codes: pa.array(NAMES[codes]).cast(pa.string_view()),
    "dictionary": lambda codes: pa.DictionaryArray.from_arrays(codes.astype(np.int32), NAMES),
}
ARRAYS = {
    "integers": lambda codes: codes,
    "texts": lambda codes: NAMES[codes],
    "one object for equal texts": lambda codes: NAMES.astype(object)[codes],
    "each text an object": lambda codes: NAMES[codes].astype(object),
    "integers as objects": lambda codes: codes.astype(object) * 10**6,
    "categories": lambda codes: pd.Categorical.from_codes(codes, NAMES),
    "pandas strings": lambda codes: pd.array(NAMES[codes], dtype="string"),
}


def _bars(codes: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    close = 100.0 + np.arange(codes.size) % 1_009
    return {"open": close, "high": close + 1.0, "low": close - 1.0, "close": close, "volume": np.ones(codes.size)}


def _oracle(x: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], lag: int) -> np.ndarray[Any, Any]:
    """Return each row's difference from the row of the same symbol `lag` rows before; NaN where there is none."""
    order = np.argsort(codes, kind="stable")
    sorted_x, sorted_codes = x[order], codes[order]
    out = np.full(x.size, np.nan)
    same = sorted_codes[lag:] == sorted_codes[:-lag]
    out[order[lag:][same]] = (sorted_x[lag:] - sorted_x[:-lag])[same]
    return out


@pytest.mark.parametrize("pattern", PATTERNS)
def test_rows_find_their_symbol(pattern: str) -> None:
    codes = PATTERNS[pattern][:ROWS]
    bars = _bars(codes)
    want = {"rise": _oracle(bars["close"], codes, 1), "up": _oracle(bars["high"], codes, 1)}
    want["back"] = _oracle(bars["close"], codes, 2)
    for kind, make in COLUMNS.items():
        table = pa.table({"symbol": make(codes), **bars})
        for threads in (1, 2, 7):
            out = qf.compute(table, FS, by="symbol", threads=threads)
            out.validate(full=True)
            for name, values in want.items():
                assert out[name].null_count == np.isnan(values).sum(), (kind, threads, name)
                found = out[name].to_numpy()
                np.testing.assert_array_equal(found, values, err_msg=f"{kind} {threads} {name}")
    for kind, make in ARRAYS.items():
        symbols = make(codes)
        for table in (bars | {"symbol": symbols}, pd.DataFrame(bars | {"symbol": symbols})):
            out = qf.compute(table, FS, by="symbol", threads=3)
            for name, values in want.items():
                np.testing.assert_array_equal(out[name], values, err_msg=f"{kind} {name}")


@pytest.mark.parametrize("row", [0, 2**18, 2 * 2**18 - 1, ROWS - 1])
def test_a_null_symbol_far_down_is_refused_with_its_row(row: int) -> None:
    codes = PATTERNS["symbols one after the other"]
    table = pa.table({"symbol": pa.array(NAMES[codes], mask=np.arange(ROWS) == row), **_bars(codes)})
    for frame in (table, pl.from_arrow(table)):
        with pytest.raises(qf.SchemaError, match=rf"row {row}: the symbol is null"):
            qf.compute(frame, FS, by="symbol", threads=4)


def test_results_share_no_nulls_with_later_ones() -> None:
    """The memory of bitmaps is used again, but never while a result of it is held."""
    codes = PATTERNS["symbols one after the other"]
    table = pa.table({"symbol": pa.array(codes), **_bars(codes)})
    first = qf.compute(table, FS, by="symbol")
    before = [first[name].null_count for name in FS.columns], first["rise"].is_null().to_numpy()
    for offset in (1, 50, 1_000):
        other = qf.compute(table.slice(offset, ROWS - 2 * offset), FS, by="symbol")
        assert other["back"].null_count == 22
    first.validate(full=True)
    column = first["rise"]
    assert ([first[name].is_null().to_numpy().sum() for name in FS.columns]) == before[0]
    np.testing.assert_array_equal(column.is_null().to_numpy(), before[1])


BAD = ["raise", "null", "reset"]


@pytest.mark.parametrize("on_bad", BAD)
@pytest.mark.parametrize("symbols", [2, 40, 71])
def test_symbols_side_by_side_have_the_bits_of_each_alone(symbols: int, on_bad: str) -> None:
    """Rows in order of time: symbols run abreast, a slice of the table after the other, and are kept between slices."""
    random = np.random.default_rng(symbols)
    # Each moment has some of the symbols; the last one is listed late, the first one leaves early.
    here = random.random((150_000 // symbols, symbols)) < 0.9
    here[: len(here) // 2, -1] = here[len(here) // 3 :, 0] = False
    moment, code = np.nonzero(here)
    close = np.exp(random.normal(0.0, 0.01, moment.size)).cumprod()
    bars = {
        "open": close,
        "high": close * 1.01,
        "low": close * 0.99,
        "close": close,
        "volume": random.random(moment.size),
    }
    bars["time"] = (moment * 60 * 10**9).view("datetime64[ns]")
    if on_bad != "raise":
        bars["close"] = np.where(random.random(moment.size) < 0.001, np.nan, close)
    fs = qf.FeatureSet.load("kline17")
    options: dict[str, Any] = {"time": "time", "on_bad": on_bad, "interval": "1m", "on_gap": "ignore"}
    for on_gap in ("ignore", "reset"):
        options["on_gap"] = on_gap
        want = np.empty((len(fs), moment.size))
        for k in range(symbols):
            alone = {name: column[code == k] for name, column in bars.items()}
            found = qf.compute(alone, fs, **options)
            want[:, code == k] = [found[name] for name in fs.columns]
        for dtype in ("float64", "float32"):
            for threads in (1, 3):
                out = qf.compute(bars | {"symbol": code}, fs, by="symbol", threads=threads, dtype=dtype, **options)
                whole = np.array([out[name] for name in fs.columns])
                assert whole.tobytes() == want.astype(dtype).tobytes(), (on_gap, dtype, threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_bad_row_of_symbols_side_by_side_is_reported(threads: int) -> None:
    rows, symbols = 60_000, 37
    bars = _bars(np.arange(rows) % symbols)
    for bad in ([59_999, 1_234, 40_000], [36, 35], [30_000]):
        close = bars["close"].copy()
        close[bad] = np.inf
        table = bars | {"close": close, "symbol": np.arange(rows) % symbols}
        with pytest.raises(qf.BadBarError) as caught:
            qf.compute(table, FS, by="symbol", threads=threads)
        assert caught.value.row == min(bad)
        assert caught.value.symbol == str(min(bad) % symbols)


def test_windows_and_symbols_side_by_side_take_turns() -> None:
    """Both compute eight series at a time, in the same memory where the windows have 128 rows."""
    random = np.random.default_rng(11)
    rows, symbols = 6_000, 12
    bars = _bars(np.arange(rows)) | {"volume": random.random(rows)}
    cube = np.column_stack([bars[name] for name in ("open", "high", "low", "close", "volume")])
    cube = np.stack([cube[at : at + 128] for at in range(0, 900, 10)])
    table = bars | {"symbol": np.arange(rows) % symbols}
    fs = qf.FeatureSet.load("wide32")
    for last in ("only", "all"):
        want = qf.windows(cube, qf.FeatureSet.load("wide32"), last=last)
        first = qf.compute(table, fs, by="symbol", threads=1)
        for _ in range(2):
            assert qf.windows(cube, fs, last=last).tobytes() == want.tobytes()
            again = qf.compute(table, fs, by="symbol", threads=1)
            assert all(np.array_equal(again[name], first[name], equal_nan=True) for name in fs.columns)
