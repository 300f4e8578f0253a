"""What was known when a bar closed: against a loop, and proven causal by cutting the future off."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtfeat.bars import join_asof, resample
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError, UnsortedError

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
STAMP = pa.timestamp("ms", tz="UTC")
MINUTE = 60_000
START = 1_700_000_040_000
MIN5 = 5 * MINUTE


def bars(n: int, symbols: str = "AB") -> pa.Table:
    return pa.table(
        {
            "symbol": [symbol for symbol in symbols for _ in range(n)],
            "open_time": pa.array(START + MIN5 * np.tile(np.arange(n), len(symbols))).cast(STAMP),
        }
    )


def funding(times: dict[str, list[int]], seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    symbols = [symbol for symbol, own in times.items() for _ in own]
    stamps = [t for own in times.values() for t in own]
    return pa.table(
        {
            "symbol": pa.array(symbols, pa.string()),
            "time": pa.array(np.array(stamps, dtype=np.int64)).cast(STAMP),
            "rate": rng.normal(size=len(stamps)),
        }
    )


def ms(table: pa.Table, name: str) -> list[int]:
    return np.asarray(table.column(name).cast(pa.int64())).tolist()


def slow(table: pa.Table, other: pa.Table, lag: int, tolerance: int | None) -> list[float | None]:
    """The oracle: for each bar, look at every row of its symbol."""
    rows = list(
        zip(other.column("symbol").to_pylist(), ms(other, "time"), other.column("rate").to_pylist(), strict=True)
    )
    out: list[float | None] = []
    for symbol, opened in zip(table.column("symbol").to_pylist(), ms(table, "open_time"), strict=True):
        close = opened + MIN5
        seen = [(t + lag, rate) for s, t, rate in rows if s == symbol and t + lag <= close]
        if seen and tolerance is not None and close - seen[-1][0] > tolerance:
            seen = []
        out.append(seen[-1][1] if seen else None)
    return out


offsets = st.lists(st.integers(-40 * MINUTE, 200 * MINUTE), max_size=15, unique=True).map(
    lambda own: [START + t for t in sorted(own)]
)


@settings(max_examples=80, deadline=None)
@given(a=offsets, b=offsets, lag=st.integers(0, 30), tolerance=st.none() | st.integers(0, 60), order=st.randoms())
def test_against_a_loop(a: list[int], b: list[int], lag: int, tolerance: int | None, order: Any) -> None:
    other = funding({"A": a, "B": b})
    rows = list(range(60))
    order.shuffle(rows)
    table = bars(30).take(rows)
    found = join_asof(
        *(table, "5m", other, ["rate"]),
        delay=timedelta(minutes=lag),
        tolerance=None if tolerance is None else timedelta(minutes=tolerance),
    )
    assert found.select(table.column_names).equals(table)
    limit = None if tolerance is None else tolerance * MINUTE
    assert found.column("rate").to_pylist() == slow(table, other, lag * MINUTE, limit)


@settings(max_examples=60, deadline=None)
@given(a=offsets, b=offsets, cut=st.integers(-10, 170))
def test_the_future_cut_off_or_poisoned_changes_nothing(a: list[int], b: list[int], cut: int) -> None:
    """Bars that closed by T see the same whether what became known after T is there, gone, or another number."""
    now = START + cut * MINUTE
    table, other = bars(30), funding({"A": a, "B": b})
    whole = join_asof(table, "5m", other, ["rate"])
    past = pc.less_equal(table.column("open_time"), pa.scalar(now - MIN5, pa.int64()).cast(STAMP))
    known = pc.less_equal(other.column("time"), pa.scalar(now, pa.int64()).cast(STAMP))
    truncated = join_asof(table.filter(past), "5m", other.filter(known), ["rate"])
    assert truncated.column("rate").to_pylist() == whole.filter(past).column("rate").to_pylist()
    rate = pc.if_else(known, other.column("rate"), 1e9)
    poisoned = join_asof(table, "5m", other.set_column(2, "rate", rate), ["rate"])
    assert poisoned.filter(past).column("rate").to_pylist() == whole.filter(past).column("rate").to_pylist()


def test_a_longer_bar_is_known_when_it_has_closed() -> None:
    table = simulate(symbols=2, bars=600, interval="5m", start="2024-01-01", seed=3)
    hours, _ = resample(table, "1h")
    found = join_asof(table, "5m", hours, ["close", "high"], time="open_time", other_interval="1h", prefix="h1_")
    closes = dict(
        zip(
            zip(hours.column("symbol").to_pylist(), ms(hours, "open_time"), strict=True),
            hours.column("close").to_pylist(),
            strict=True,
        )
    )
    for symbol, opened, value in zip(
        found.column("symbol").to_pylist(), ms(found, "open_time"), found.column("h1_close").to_pylist(), strict=True
    ):
        hour = (opened + MIN5) // (60 * MINUTE) * 60 * MINUTE - 60 * MINUTE
        assert value == closes.get((symbol, hour))
    # at the last bar of an hour the hour's close is the bar's own; before that it is the hour before
    assert found.column("h1_close")[11].as_py() == table.column("close")[11].as_py()
    assert found.column("h1_close")[10].as_py() is None


def test_forgetting_the_longer_interval_is_the_leak_that_this_prevents() -> None:
    table = simulate(symbols=1, bars=60, interval="5m", start="2024-01-01", seed=3)
    hours, _ = resample(table, "1h")
    leaky = join_asof(table, "5m", hours, ["close"], time="open_time", prefix="h1_")
    assert leaky.column("h1_close")[0].as_py() == table.column("close")[11].as_py()


def test_one_series_for_every_symbol_and_finer_times() -> None:
    stamps = pa.array([START * 1_000 + 1, (START + MIN5) * 1_000]).cast(pa.timestamp("us", tz="UTC"))
    other = pa.table({"time": stamps, "index": [1, 2]})
    found = join_asof(bars(2), "5m", other, ["index"])
    assert found.column("index").to_pylist() == [2.0, 2.0] * 2
    # a microsecond after the close is after the close
    late = pa.table({"time": pa.array([(START + MIN5) * 1_000 + 1]).cast(stamps.type), "index": [1]})
    assert join_asof(bars(2), "5m", late, ["index"]).column("index").to_pylist() == [None, 1.0] * 2


def test_nothing_known_at_all() -> None:
    found = join_asof(bars(3), "5m", funding({}), ["rate"])
    assert found.column("rate").to_pylist() == [None] * 6
    assert join_asof(bars(0), "5m", funding({"A": [START]}), ["rate"]).num_rows == 0


REFUSED: dict[str, Any] = {
    "have no column 'open_time'": lambda b, o: join_asof(b.drop_columns("open_time"), "5m", o, ["rate"]),
    "have no column 'oi'": lambda b, o: join_asof(b, "5m", o, ["oi"]),
    "have no column 'when'": lambda b, o: join_asof(b, "5m", o, ["rate"], time="when"),
    "'symbol' of type string holds no numbers": lambda b, o: join_asof(b, "5m", o, ["symbol"]),
    "would have 'rate' twice": lambda b, o: join_asof(b, "5m", o, ["rate", "rate"]),
    "must be 0 or more": lambda b, o: join_asof(b, "5m", o, ["rate"], delay=timedelta(minutes=-1)),
    "as timedeltas": lambda b, o: join_asof(b, "5m", o, ["rate"], tolerance="1h"),
    # Each bar would see what was known an hour after it opened, 55 minutes after its close.
    "closer than interval '1h'": lambda b, o: join_asof(b, "1h", o, ["rate"]),
    "must be a number and one of": lambda b, o: join_asof(b, 5, o, ["rate"]),
    "the bars have none": lambda b, o: join_asof(b.drop_columns("symbol"), "5m", o, ["rate"]),
    "must be a timestamp": lambda b, o: join_asof(b, "5m", o, ["rate"], time="rate"),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        REFUSED[text](bars(3), funding({"A": [START]}))


def test_unsorted_or_repeated_rows_are_refused() -> None:
    with pytest.raises(UnsortedError, match="row 1: time"):
        join_asof(bars(3), "5m", funding({"A": [START, START]}), ["rate"])


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded market data at {DATA} (set QTFEAT_DATA)")
def test_recorded_funding() -> None:
    other = pq.read_table(DATA / "ticks_funding_trades" / "bybit_BTCUSD_funding.parquet")
    opened = np.arange("2020-01-01", "2020-02-01", dtype="datetime64[h]").astype("datetime64[ms]")
    table = pa.table({"symbol": ["BTCUSD"] * len(opened), "open_time": pa.array(opened).cast(STAMP)})
    found = join_asof(table, "1h", other, ["funding_rate"])
    rates = dict(zip(ms(other, "time"), other.column("funding_rate").to_pylist(), strict=True))
    eight = 8 * 60 * MINUTE
    wanted = [rates[(t + 60 * MINUTE) // eight * eight] for t in ms(table, "open_time")]
    assert found.column("funding_rate").to_pylist() == wanted
