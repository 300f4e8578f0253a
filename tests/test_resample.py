"""Longer bars from shorter ones and from trades, against plain loops; a hole is never passed off as a whole bar."""

from __future__ import annotations

import io
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtfeat.bars import BAR_SCHEMA, dollar_bars, read_bars, read_trades, resample, time_bars, volume_bars
from qtfeat.bars.simulate import simulate
from qtfeat.errors import BadBarError, GapError, SchemaError, UnsortedError

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
recorded = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded market data at {DATA} (set QTFEAT_DATA)")
MINUTE = 60_000
START = 1_700_000_000_000 // 86_400_000 * 86_400_000
MONDAY = 1_700_438_400_000  # 2023-11-20


def minutes(n: int = 600, symbols: int = 1, start: str = "2023-11-14") -> pa.Table:
    return simulate(symbols=symbols, bars=n, interval="1m", start=start, seed=4)


def slow_resample(bars: pa.Table, width: int, per: int, keep: bool) -> list[tuple[Any, ...]]:
    """The oracle: a dictionary and a loop over rows."""
    buckets: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in bars.to_pylist():
        t = round(row["open_time"].timestamp() * 1_000)
        buckets.setdefault((row["symbol"], t // width * width), []).append(row)
    return [
        (
            *(symbol, t, rows[0]["open"], max(r["high"] for r in rows), min(r["low"] for r in rows)),
            *(rows[-1]["close"], math.fsum(r["volume"] for r in rows)),
        )
        for (symbol, t), rows in buckets.items()
        if keep or len(rows) == per
    ]


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    times = np.asarray(table.column("open_time").cast(pa.int64())).tolist()
    columns = [table.column(name).to_pylist() for name in ("open", "high", "low", "close", "volume")]
    return list(zip(table.column("symbol").to_pylist(), times, *columns, strict=True))


def same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    assert [row[:6] for row in found] == [row[:6] for row in wanted]
    assert [row[6] for row in found] == pytest.approx([row[6] for row in wanted], rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    gone=st.sets(st.integers(0, 399), max_size=120),
    per=st.sampled_from([2, 5, 15, 60]),
    policy=st.sampled_from(["drop", "keep"]),
    offset=st.integers(0, 7),
)
def test_against_a_loop_with_any_bars_missing(gone: set[int], per: int, policy: str, offset: int) -> None:
    bars = simulate(symbols=2, bars=200, interval="1m", start="2023-11-14", seed=1).take(
        [i for i in range(offset, 400) if i not in gone]
    )
    table, report = resample(bars, f"{per}m", source_interval="1m", on_partial=policy)
    wanted = slow_resample(bars, per * MINUTE, per, policy == "keep")
    same(rows_of(table), wanted)
    everything = slow_resample(bars, per * MINUTE, per, keep=True)
    whole = slow_resample(bars, per * MINUTE, per, keep=False)
    assert report.partial == len(everything) - len(whole)
    assert report.bars_out == len(wanted)
    assert report.bars_in == bars.num_rows
    assert report.bars_dropped == (0 if policy == "keep" else bars.num_rows - per * len(whole))


def test_in_steps_equals_at_once() -> None:
    bars = minutes(60 * 24 * 3, symbols=2)
    five, report = resample(bars, "5m")
    assert report.ok
    hour, _ = resample(five, "1h")
    at_once, _ = resample(bars, "1h")
    same(rows_of(hour), rows_of(at_once))
    assert at_once.schema == BAR_SCHEMA
    assert at_once.num_rows == 2 * 72


def test_a_hole_stays_a_hole_and_is_reported() -> None:
    bars = minutes(180).filter(pa.array([not 57 <= i < 125 for i in range(180)]))
    table, report = resample(bars, "15m")
    assert [(row[1] - START) // (15 * MINUTE) for row in rows_of(table)] == [0, 1, 2, 9, 10, 11]
    assert (report.partial, report.absent, report.bars_dropped) == (2, 4, 12 + 10)
    assert report.examples[0] == "SIM000 2023-11-14T00:45:00.000: 12 of 15 bars"
    assert "2 partial bucket(s) dropped with 22 bars" in str(report)
    assert "4 bucket(s) without any bar stay gaps" in str(report)
    with pytest.raises(GapError, match=r"00:45:00.000: 12 of 15 bars"):
        resample(bars, "15m", on_partial="raise")


def test_weeks_open_on_mondays_and_days_at_midnight_utc() -> None:
    bars = simulate(symbols=1, bars=24 * 22, interval="1h", start="2023-11-15", seed=1)
    weeks, report = resample(bars, "1w")
    assert [row[1] for row in rows_of(weeks)] == [MONDAY, MONDAY + 7 * 86_400_000]
    assert report.partial == 2
    days, report = resample(bars, "1d")
    assert report.ok
    assert {row[1] % 86_400_000 for row in rows_of(days)} == {0}


def test_nan_is_not_hidden() -> None:
    bars = minutes(30)
    high = bars.column("high").to_numpy().copy()
    high[7] = np.nan
    table, _ = resample(bars.set_column(3, "high", pa.array(high)), "10m")
    assert np.isnan(table.column("high").to_numpy()).tolist() == [True, False, False]


def test_kline_columns_and_further_ones() -> None:
    bars = minutes(20)
    stamps = bars.column("open_time").cast(pa.int64())
    bars = (
        bars.append_column("close_time", pc.add(stamps, MINUTE - 1).cast(pa.timestamp("ms", tz="UTC")))
        .append_column("count", pa.array(np.arange(20)))
        .append_column("funding", pa.array(np.arange(20.0)))
    )
    with pytest.raises(SchemaError, match="column 'funding': say how its rows become one"):
        resample(bars, "10m")
    table, _ = resample(bars, "10m", folds={"funding": "last"})
    assert table.schema == bars.schema
    assert table.column("count").to_pylist() == [45, 145]
    assert table.column("funding").to_pylist() == [9.0, 19.0]
    ends = np.asarray(table.column("close_time").cast(pa.int64()))
    assert ends.tolist() == [START + 10 * MINUTE - 1, START + 20 * MINUTE - 1]


REFUSED: dict[str, Any] = {
    "not a multiple": lambda: resample(minutes(), "90s"),
    "interval must be a number": lambda: resample(minutes(), "1mo"),
    "is not on the grid": lambda: resample(minutes(10), "4h", source_interval="1h"),
    "say source_interval": lambda: resample(minutes(1), "1h"),
    "no column 'volume'": lambda: resample(minutes(5).drop_columns("volume"), "5m"),
    "on_partial must be": lambda: resample(minutes(), "5m", on_partial="fill"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_resampled(text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        REFUSED[text]()


def test_unsorted_bars_are_refused() -> None:
    bars = minutes(10, symbols=2)
    with pytest.raises(UnsortedError, match=r"row 3: open_time .* is not after") as caught:
        resample(bars.take([0, 1, 2, 2, 3]), "5m")
    assert (caught.value.row, caught.value.symbol) == (3, "SIM000")
    with pytest.raises(UnsortedError, match="not in one piece"):
        resample(bars.take([0, 1, 10, 11, 2, 3]), "5m")


@recorded
def test_recorded_minutes_against_the_recorded_five_minutes() -> None:
    """Most five-minute bars lack some minutes; kept, they agree with the recorded ones except where those differ."""
    bars, _ = read_bars(DATA / "long" / "BTCUSD_1m_2017_2018.parquet")
    table, report = resample(bars, "5m", on_partial="keep")
    assert report.bars_in == 1_025_708
    assert report.partial > 10_000
    whole, _ = resample(bars, "5m")
    assert whole.num_rows == table.num_rows - report.partial
    recorded_bars, _ = read_bars(DATA / "long" / "BTCUSD_5m_2017-07_2018_DERIVED.parquet")
    joined = recorded_bars.join(whole, "open_time", join_type="inner", right_suffix="_ours")
    assert joined.num_rows > 140_000
    for name in ("open", "high", "low", "close"):
        equal = joined.column(name).to_numpy() == joined.column(f"{name}_ours").to_numpy()
        assert equal.mean() > 0.99, name


# --- trades


def trades(n: int = 500, seed: int = 0, symbol: str = "T") -> pa.Table:
    rng = np.random.default_rng(seed)
    time = START + np.cumsum(rng.integers(0, 900, n))
    return pa.table(
        {
            "symbol": pa.array([symbol] * n, pa.string()),
            "time": pa.array(time).cast(pa.timestamp("ms", tz="UTC")),
            "price": 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, n))),
            "amount": rng.lognormal(0, 1, n),
            "taker_buys": rng.random(n) < 0.5,
            "id": np.arange(n),
        }
    )


def bar_of(rows: list[dict[str, Any]]) -> tuple[Any, ...]:
    prices = [r["price"] for r in rows]
    return (prices[0], max(prices), min(prices), prices[-1], math.fsum(r["amount"] for r in rows))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 300), width=st.sampled_from([1_000, 10_000, 60_000]))
def test_time_bars_against_a_loop(seed: int, n: int, width: int) -> None:
    table = pa.concat_tables([trades(n, seed, "A"), trades(n // 2, seed + 1, "B")])
    wanted: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        t = round(row["time"].timestamp() * 1_000)
        wanted.setdefault((row["symbol"], t // width * width), []).append(row)
    found = time_bars(table, f"{width // 1_000}s")
    same(rows_of(found), [(*key, *bar_of(rows)) for key, rows in wanted.items()])
    assert found.column("count").to_pylist() == [len(rows) for rows in wanted.values()]
    quotes = [math.fsum(r["price"] * r["amount"] for r in rows) for rows in wanted.values()]
    assert found.column("quote_volume").to_pylist() == pytest.approx(quotes, rel=1e-12)
    bought = [math.fsum(r["amount"] for r in rows if r["taker_buys"]) for rows in wanted.values()]
    assert found.column("taker_buy_volume").to_pylist() == pytest.approx(bought, rel=1e-12)


def test_a_trade_on_the_edge_opens_the_next_bar() -> None:
    t = pa.array([START, START + MINUTE - 1, START + MINUTE]).cast(pa.timestamp("ms", tz="UTC"))
    table = pa.table({"symbol": ["X"] * 3, "time": t, "price": [1.0, 2.0, 3.0], "amount": [1.0] * 3})
    bars = time_bars(table, "1m")
    assert rows_of(bars) == [("X", START, 1, 2, 1, 2, 2), ("X", START + MINUTE, 3, 3, 3, 3, 1)]
    assert bars.column("taker_buy_volume").null_count == 2
    assert np.asarray(bars.column("close_time").cast(pa.int64())).tolist() == [
        START + MINUTE - 1,
        START + 2 * MINUTE - 1,
    ]


def slow_threshold(table: pa.Table, threshold: float, money: bool) -> list[tuple[Any, ...]]:
    """The oracle: moments one by one, until their sum reaches the threshold."""
    out: list[tuple[Any, ...]] = []
    for symbol in dict.fromkeys(table.column("symbol").to_pylist()):
        rows = [r for r in table.to_pylist() if r["symbol"] == symbol]
        moments: dict[Any, list[dict[str, Any]]] = {}
        for row in rows:
            moments.setdefault(row["time"], []).append(row)
        bar: list[dict[str, Any]] = []
        total = 0.0
        for moment in moments.values():
            bar += moment
            total += sum(r["amount"] * (r["price"] if money else 1) for r in moment)
            if total >= threshold:
                out.append((symbol, round(bar[0]["time"].timestamp() * 1_000), *bar_of(bar)))
                bar, total = [], 0.0
    return out


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 400), threshold=st.floats(0.1, 300), money=st.booleans())
def test_threshold_bars_against_a_loop(seed: int, n: int, threshold: float, money: bool) -> None:
    table = pa.concat_tables([trades(n, seed, "A"), trades(n // 3, seed + 1, "B")])
    bars = dollar_bars(table, threshold * 100) if money else volume_bars(table, threshold)
    same(rows_of(bars), slow_threshold(table, threshold * (100 if money else 1), money))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1_000), cut=st.integers(1, 400))
def test_threshold_bars_are_causal_and_strictly_in_order(seed: int, cut: int) -> None:
    table = trades(400, seed)
    whole, part = volume_bars(table, 20.0), volume_bars(table.slice(0, cut), 20.0)
    # without the last bar of the part: its last millisecond may have been cut in two
    done = max(0, part.num_rows - 1)
    assert part.slice(0, done).equals(whole.slice(0, done))
    times = np.asarray(whole.column("open_time").cast(pa.int64()))
    assert (np.diff(times) > 0).all()


def test_trades_that_are_refused() -> None:
    table = trades(10)
    with pytest.raises(SchemaError, match="volume must be a number above 0"):
        volume_bars(table, 0)
    with pytest.raises(UnsortedError, match="row 1: time"):
        time_bars(table.take([5, 2]), "1m")
    price = table.column("price").to_numpy().copy()
    price[3] = -1
    with pytest.raises(BadBarError, match="row 3: price -1") as caught:
        time_bars(table.set_column(2, "price", pa.array(price)), "1m")
    assert (caught.value.row, caught.value.column, caught.value.value) == (3, "price", -1)
    with pytest.raises(SchemaError, match="no column 'price'"):
        time_bars(table.drop_columns("price"), "1m")
    assert time_bars(table.slice(0, 0), "1m").num_rows == 0
    assert volume_bars(table.slice(0, 0), 1.0).num_rows == 0


ARCHIVE = {
    "spot": ("{id},{p},{q},{qq},{t},{m},True", None),
    "um": ("{id},{p},{q},{qq},{t},{m}", "id,price,qty,quote_qty,time,is_buyer_maker"),
    "aggregated": ("{id},{p},{q},{id},{id},{t},{m},True", None),
    "own": ("{t},{p},{q}", "when,Price,Size"),
}


@pytest.mark.parametrize("kind", ARCHIVE)
@pytest.mark.parametrize("zipped", [True, False])
def test_files_of_trades(tmp_path: Path, kind: str, zipped: bool) -> None:
    line, header = ARCHIVE[kind]
    table = trades(50, symbol="XYZ")
    scale = 1_000 if kind == "spot" else 1
    lines = [header] if header else []
    for r in table.to_pylist():
        t = round(r["time"].timestamp() * 1_000) * scale
        lines.append(line.format(id=r["id"], p=r["price"], q=r["amount"], qq=1, t=t, m=not r["taker_buys"]))
    text = "\n".join(lines) + "\n"
    path = tmp_path / ("XYZ.zip" if zipped else "XYZ.csv")
    if zipped:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("XYZ.csv", text)
        path.write_bytes(data.getvalue())
    else:
        path.write_text(text)
    columns = {"time": "when", "amount": "Size"} if kind == "own" else None
    found, report = read_trades(path, columns=columns)
    assert report.ok, str(report)
    for name in ("symbol", "time", "price", "amount"):
        assert found.column(name).to_pylist() == table.column(name).to_pylist(), name
    if kind != "own":
        assert found.column("taker_buys").to_pylist() == table.column("taker_buys").to_pylist()
        assert found.column("id").to_pylist() == table.column("id").to_pylist()


def test_repeated_bad_and_unordered_trades(tmp_path: Path) -> None:
    table = trades(20, symbol="XYZ").take([0, 1, 2, 2, 3, 5, 4, *range(6, 20)])
    amount = table.column("amount").to_numpy().copy()
    amount[10] = -3.0
    path = tmp_path / "XYZ.parquet"
    pq.write_table(table.set_column(3, "amount", pa.array(amount)), path)
    with pytest.raises(BadBarError, match=r"XYZ\.parquet, row 10: amount -3") as caught:
        read_trades(path)
    assert (caught.value.column, caught.value.row, caught.value.value) == ("amount", 10, -3.0)
    found, report = read_trades(path, on_bad="drop")
    assert (report.duplicates, report.unsorted, report.bad, report.conflicts) == (1, 1, 1, 0)
    assert found.column("id").to_pylist() == [i for i in range(20) if i != 9]
    for text in ("repeated: row 3", "earlier than the one before: row 6", "bad amount -3: row 10"):
        assert text in str(report)


@recorded
def test_recorded_trades() -> None:
    odd = DATA / "bad_input" / "test_negative_binance_trade_stream_spot_trxusdt_04-03-2025.csv"
    table, report = read_trades(odd, on_bad="drop")
    assert set(table.column("symbol").to_pylist()) == {"TRXUSDT"}
    assert not report.ok
    bars = time_bars(table, "1m")
    assert sum(bars.column("count").to_pylist()) == table.num_rows
    clean, _ = read_trades(DATA / "ticks_funding_trades" / "binance_XRPETH_trades_2019-10.parquet", symbol="XRPETH")
    # five-minute bars by way of one-minute bars: partial ones kept, for a minute without trades has no bar
    five = time_bars(clean, "5m").select(BAR_SCHEMA.names)
    steps, _ = resample(time_bars(clean, "1m").select(BAR_SCHEMA.names), "5m", source_interval="1m", on_partial="keep")
    same(rows_of(steps), rows_of(five))
    with pytest.raises(SchemaError, match="not trades"):
        read_trades(DATA / "ticks_funding_trades" / "bybit_BTCUSD_funding.parquet")
