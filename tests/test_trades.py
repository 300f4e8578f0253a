"""Trade tables: every format, every reason to refuse a row, the bar that had closed, and what is made up."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import qtfeat as qf
from qtfeat.errors import QtfeatError, SchemaError
from qtfeat.trades import read_trades, trade_dataset

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
START = datetime(2024, 3, 1, tzinfo=UTC)


def rows(n: int, seed: int = 0) -> list[dict]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        entry, pnl = START + timedelta(minutes=37 * i), float(np.round(2 * rng.standard_normal(), 4))
        made.append(
            {
                "trade_id": i,
                "symbol": f"SIM00{i % 3}",
                "direction": "LONG",
                "entry_time": entry.isoformat(),
                "exit_time": (entry + timedelta(hours=3)).isoformat(),
                "entry_price": 10.0,
                "exit_price": 10.0 * (1 + pnl / 100),
                "pnl_pct": pnl,
            }
        )
    return made


def table(made: list[dict]) -> dict:
    return {name: np.array([row[name] for row in made], dtype=object) for name in made[0]}


def write(path: Path, made: list[dict]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(made), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, made[0])
            writer.writeheader()
            writer.writerows(made)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
    else:
        with sqlite3.connect(path) as base:
            base.execute(f"CREATE TABLE closed ({', '.join(made[0])})")
            base.executemany(
                f"INSERT INTO closed VALUES ({', '.join('?' * len(made[0]))})", [(*r.values(),) for r in made]
            )
        base.close()
    return path


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.jsonl", "t.sqlite", "t.db"])
def test_every_format_gives_the_same(tmp_path, name):
    made = rows(82)
    trades = read_trades(write(tmp_path / name, made))
    assert len(trades) == 82
    assert trades.refused == ()
    assert trades.pnl.tolist() == [row["pnl_pct"] / 100 for row in made]
    assert trades.symbol == tuple(row["symbol"] for row in made)
    assert trades.entry[1] == np.datetime64("2024-03-01T00:37")
    assert (trades.exit - trades.entry == np.timedelta64(3, "h")).all()
    np.testing.assert_allclose(trades.ret, trades.pnl, atol=1e-15)


def test_eighty_two_trades_give_eighty_two_rows():
    trades = read_trades(table(rows(82)))
    data = trade_dataset(trades)
    assert data.X.shape == (82, 14)
    assert np.isfinite(data.X).all()
    assert data.synthetic.all()
    assert not data.labels.label_leak
    assert data.labels.known.all()
    assert data.columns == tuple(qf.FeatureSet.load("trade14").columns)
    assert "82 from synthetic windows" in "\n".join(data.report())
    for how in ({"kind": "outcome"}, {"rho": 0.5}):
        assert trade_dataset(trades, **how).labels.label_leak


BROKEN = [
    ({"trade_id": 3}, "the id was there before"),
    ({"trade_id": None}, "no id"),
    ({"symbol": " "}, "no symbol"),
    ({"entry_time": None}, "no entry time"),
    ({"entry_time": "soon"}, "the entry time is no time"),
    ({"entry_time": 12}, "the entry time is no time"),
    ({"exit_time": ""}, "no exit time"),
    ({"exit_time": "2020-01-01"}, "the exit is before the entry"),
    ({"direction": "up"}, "the direction is neither long nor short"),
    ({"entry_price": 0.0}, "the entry price is not above 0"),
    ({"exit_price": -3.0}, "the exit price is not above 0"),
    ({"exit_price": None}, "no exit price"),
    ({"entry_price": "cheap"}, "the entry price is no finite number"),
    ({"pnl_pct": None}, "no profit or loss"),
    ({"pnl_pct": float("nan")}, "no profit or loss"),
    ({"pnl_pct": float("inf")}, "the profit or loss is no finite number"),
    ({"pnl_pct": True}, "the profit or loss is no finite number"),
    ({"pnl_pct": -100.0}, "the loss is all there was, or more"),
    ({"pnl_pct": 1e12}, "the profit is a million times the stake"),
]


@pytest.mark.parametrize(("change", "reason"), BROKEN)
def test_each_reason_to_refuse(change, reason):
    made = rows(10)
    made[6] |= change
    trades = read_trades(table(made))
    assert [(one.row, one.reason) for one in trades.refused] == [(6, reason)]
    assert trades.row.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert reason in "\n".join(trade_dataset(trades).report())


def test_a_repeated_row_without_ids():
    made = [{k: v for k, v in row.items() if k != "trade_id"} for row in rows(5)]
    trades = read_trades(table([*made, made[2]]))
    assert [str(one) for one in trades.refused] == ["row 5: the same row was there before: 'row 2'"]


def test_shorts_and_leverage_are_the_move_of_a_long():
    made = rows(2)
    for row in made:
        row |= {"pnl_pct": 5.0, "leverage": 5, "exit_price": 10.1}
    made[1] |= {"direction": "SHORT", "exit_price": 9.9}
    trades = read_trades(table(made))
    np.testing.assert_allclose(trades.pnl, [0.01, -0.01])
    np.testing.assert_allclose(trades.ret, [0.01, -0.01])
    assert trade_dataset(trades).labels.side.tolist() == [2, 0]


def test_since_and_epoch_times():
    made = rows(10)
    scale = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    for number in scale.values():
        epochs = [
            r | {k: int(datetime.fromisoformat(r[k]).timestamp()) * number for k in ("entry_time", "exit_time")}
            for r in made
        ]
        trades = read_trades(table(epochs), since="2024-03-01T01:00")
        assert trades.entry[0] == np.datetime64("2024-03-01T01:14")
        assert (len(trades), trades.earlier) == (8, 2)


def panel(bars: int = 400) -> pa.Table:
    return qf.simulate(3, bars, 5, start="2024-02-20")


def test_the_last_bar_that_had_closed():
    bars = panel()
    made = rows(60)
    made[0]["entry_time"] = "2024-03-01T05:00:00+00:00"  # as the bar of 04:00 closes
    made[0]["exit_time"] = "2024-03-01T07:00:00+00:00"
    made[1]["entry_time"] = "2024-03-01T04:59:59.999999+00:00"
    made[1]["exit_time"] = "2024-03-01T07:00:00+00:00"
    data = trade_dataset(read_trades(table(made)), bars)
    assert not data.synthetic.any()
    features = qf.compute(bars, "trade14", by="symbol", time="open_time")
    frame = features.to_pandas()
    frame["closed"] = frame["open_time"].dt.tz_localize(None) + np.timedelta64(1, "h")
    for i, (symbol, entry) in enumerate(zip(data.symbol, data.labels.t, strict=True)):
        past = frame[(frame["symbol"] == symbol) & (frame["closed"] <= entry)]
        assert data.X[i].tolist() == past.iloc[-1][list(data.columns)].tolist()
    assert frame["closed"].iloc[0] is not None
    # A shuffled order of trades changes nothing but the order.
    order = np.random.default_rng(1).permutation(60)
    again = trade_dataset(read_trades(table([made[i] for i in order])), bars)
    assert again.X.tobytes() == data.X[order].tobytes()


def test_hourly_bars_as_half_hourly_would_be_seen_before_they_close():
    trades = read_trades(table(rows(20)))
    with pytest.raises(SchemaError, match="no two bars of a symbol are closer than '1h'"):
        trade_dataset(trades, panel(), interval="30m")
    assert trade_dataset(trades, panel(), interval="1h").X.tobytes() == trade_dataset(trades, panel()).X.tobytes()


def test_trades_cannot_see_their_bar_or_later_ones():
    bars = panel()
    trades = read_trades(table(rows(60)))
    whole = trade_dataset(trades, bars)
    closed = bars["open_time"].to_numpy() + np.timedelta64(1, "h")
    for i in (0, 17, 59):
        cut = bars.filter(pa.array(closed <= trades.entry[i]))
        assert cut.num_rows < bars.num_rows
        assert trade_dataset(trades, cut).X[i].tobytes() == whole.X[i].tobytes()


def test_rows_without_bars_are_counted_with_their_reasons():
    bars = panel()
    made = rows(8)
    made[0]["symbol"] = "ELSEWHERE"
    made[1] |= {"entry_time": "2024-01-01", "exit_time": "2024-01-02"}
    made[2] |= {"entry_time": "2024-04-01", "exit_time": "2024-04-02"}
    made[3] |= {"entry_time": "2024-02-20T05:00", "exit_time": "2024-02-21"}
    trades = read_trades(table(made))
    data = trade_dataset(trades, bars)
    assert data.synthetic.tolist() == [True] * 4 + [False] * 4
    assert data.without == {
        "no bars of the symbol": 1,
        "no bar had closed at the entry": 1,
        "the last closed bar is too old": 1,
        "the bar is in the warm-up, or null": 1,
    }
    assert "4 from real bars, 4 from synthetic windows" in "\n".join(data.report())
    # The synthetic rows are those of the windows with the same numbers.
    drawn = qf.synthetic_features(trades.pnl, "trade14", unit="fraction")
    assert data.X[:4].tobytes() == drawn[:4].tobytes()
    assert not trade_dataset(trades, bars, max_age="40d").synthetic[2]


def test_one_symbol_without_a_column():
    bars = qf.simulate(1, 400, 5, start="2024-02-20").drop_columns("symbol")
    made = [row | {"symbol": "X"} for row in rows(20)]
    assert not trade_dataset(read_trades(table(made)), bars, by=None).synthetic.any()
    with pytest.raises(SchemaError, match="several symbols"):
        trade_dataset(read_trades(table(rows(20))), bars, by=None)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(sorted(rows(1)[0])),
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
            max_size=4,
        ),
        min_size=1,
        max_size=12,
    )
)
@example([{"exit_time": 5 * 10**16}, {"entry_time": 99_999_999_999}])
@settings(max_examples=60, deadline=None)
def test_whatever_stands_in_a_row_it_is_read_or_refused(changes):
    made = [row | change for row, change in zip(rows(len(changes)), changes, strict=True)]
    trades = read_trades(table(made))
    assert sorted([*trades.row.tolist(), *(one.row for one in trades.refused)]) == list(range(len(made)))
    assert np.isfinite(trade_dataset(trades).X).all()
    assert (trades.exit >= trades.entry).all()


def test_files_and_maps_that_do_not_fit(tmp_path):
    path = write(tmp_path / "t.csv", rows(3))
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 no parquet")
    lines = tmp_path / "t.jsonl"
    lines.write_text('{"symbol": "A"}\n[1]\n')
    empty = tmp_path / "empty.sqlite"
    sqlite3.connect(empty).close()
    empty.touch()
    cases = [
        ((tmp_path / "no.csv",), {}, "no such file"),
        ((bad,), {}, "cannot be read"),
        ((lines,), {}, "line 2"),
        ((empty,), {}, "which table"),
        ((write(tmp_path / "t.db", rows(3)),), {"table": 'closed"; DROP TABLE closed; --'}, "no table"),
        ((path,), {"table": "t"}, "SQLite"),
        ((path,), {"columns": {"pnl_pct": "profit"}}, "column map"),
        ((path,), {"columns": {"profit": "pnl_pct"}}, "column map"),
        ((path,), {"columns": {"pnl_pct": ""}}, "no column for pnl_pct"),
        ((path,), {"unit": "bp"}, "unit"),
        ((path,), {"since": "yesterday"}, "ISO"),
        ((tmp_path,), {}, "no such file"),
        ((3,), {}, "needed"),
    ]
    for arguments, how, text in cases:
        with pytest.raises(QtfeatError, match=text):
            read_trades(*arguments, **how)
    assert not (tmp_path / "no.csv").exists()


GOOD = {
    "symbol": ["A", "B"],
    "entry_time": ["2024-01-01", "2024-01-02"],
    "exit_time": ["2024-01-03", "2024-01-04"],
    "pnl_pct": [1.0, 2.0],
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"pnl_pct": [1.0]}, "2 rows, 'pnl_pct' has 1"),
        ({"symbol": ["A"]}, "'symbol' has 1 rows"),
        ({"PNL_PCT": [3.0, 4.0]}, "say which"),
        ({"profit_pct": [3.0, 4.0]}, "say which"),
        ({"pair": ["C", "D"]}, "say which"),
    ],
)
def test_columns_that_do_not_tell_one_table(change, text):
    with pytest.raises(SchemaError, match=text):
        read_trades(GOOD | change)


def test_one_of_two_columns_can_be_chosen():
    assert read_trades(GOOD | {"profit_pct": [3.0, 4.0]}, columns={"pnl_pct": "profit_pct"}).pnl[0] == 0.03
    assert read_trades(GOOD | {"open_timestamp": [0, 0]}).pnl[0] == 0.01  # times in two forms say the same


def test_a_column_twice_in_a_file(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("symbol,symbol,entry_time,exit_time,pnl_pct\nA,B,2024-01-01,2024-01-02,1\n")
    with pytest.raises(SchemaError, match="more than one column 'symbol'"):
        read_trades(path)


@pytest.mark.parametrize("unit", ["s", "us"])
def test_a_time_that_nanoseconds_cannot_hold_costs_its_row(unit):
    exits = pa.array([20_000, 2**40 * (1 if unit == "s" else 10**6)], pa.timestamp(unit))
    entries = pa.array([10_000, 10_000], pa.timestamp(unit))
    trades = read_trades(pa.table(GOOD | {"entry_time": entries, "exit_time": exits}))
    assert len(trades) == 1
    assert [(one.row, one.reason) for one in trades.refused] == [(1, "the exit time is no time")]


def test_prices_without_a_return():
    trades = read_trades(GOOD | {"entry_price": [5e-324, 1.0], "exit_price": [1e308, 1.1]})
    assert np.isfinite(trades.ret).all()
    assert trades.refused[0].row == 0


def test_what_is_no_set_of_trades():
    with pytest.raises(SchemaError, match="read_trades"):
        trade_dataset(GOOD)
    with pytest.raises(SchemaError, match="must be a map"):
        read_trades(GOOD, columns=["pnl_pct"])


def test_recorded_trades():
    folder = DATA / "ticks_funding_trades"
    if not folder.is_dir():
        pytest.skip(f"no recorded trades under {folder}")
    trades = read_trades(folder / "varanus_extended_trades_mar23.parquet")
    assert len(trades) + len(trades.refused) == 164
    # Leverage is divided out, so that the outcome is near the move of the price (it has costs).
    assert np.abs(trades.pnl - trades.ret).max() < 0.01
    other = read_trades(
        folder / "freqtrade_StrategyTestV3_2018-01.parquet", columns={"pnl_pct": "profit_ratio"}, unit="fraction"
    )
    assert len(other) == 179
    assert np.abs(other.pnl - other.ret).max() < 0.01
    assert trade_dataset(other).X.shape == (179, 14)
    # Exchange trades are no closed trades.
    for name in (
        "ticks_funding_trades/binance_XRPETH_trades_2019-10.parquet",
        "bad_input/test_negative_binance_trade_stream_spot_trxusdt_04-03-2025.csv",
    ):
        with pytest.raises(SchemaError, match="no column for"):
            read_trades(DATA / name)
