"""The simulator gives valid bars in the bar schema, the same bits each time, and a signal of the size asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError


def test_table_is_valid_bars():
    table = simulate(symbols=3, bars=500, seed=1)
    assert table.schema.equals(BAR_SCHEMA)
    assert table.num_rows == 1500
    assert all(column.null_count == 0 for column in table.columns)
    o, h, low, c, v = (table[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    assert (low > 0).all()
    assert ((low <= o) & (low <= c) & (o <= h) & (c <= h) & (v > 0)).all()
    assert table["symbol"].unique().to_pylist() == ["SIM000", "SIM001", "SIM002"]
    times = table["open_time"].to_numpy().reshape(3, 500)
    assert (times == times[0]).all()
    assert times[0, 0] == np.datetime64("2023-01-01T00:00")
    assert (np.diff(times[0]) == np.timedelta64(1, "h")).all()


def test_same_seed_same_bits_and_more_does_not_change_what_was():
    base = simulate(symbols=2, bars=400, seed=5)
    assert base.equals(simulate(symbols=2, bars=400, seed=5))
    assert not base.equals(simulate(symbols=2, bars=400, seed=6))
    assert simulate(symbols=4, bars=400, seed=5).slice(0, 800).equals(base)
    assert simulate(symbols=1, bars=900, seed=5).slice(0, 400).equals(base.slice(0, 400))


@pytest.mark.parametrize(("signal_r2", "horizon"), [(0.03, 5), (0.2, 5), (0.1, 1)])
def test_oracle_reaches_the_planted_r2(signal_r2, horizon):
    table = simulate(symbols=15, bars=20_000, seed=2, signal_r2=signal_r2, horizon=horizon, oracle=True)
    close = table["close"].to_numpy().reshape(15, -1)
    forecast = table["oracle"].to_numpy().reshape(15, -1)[:, :-horizon].ravel()
    actual = (close[:, horizon:] / close[:, :-horizon] - 1).ravel()
    r2 = 1 - np.sum((actual - forecast) ** 2) / np.sum((actual - actual.mean()) ** 2)
    assert r2 == pytest.approx(signal_r2, rel=0.2)


def test_no_signal_means_none():
    table = simulate(symbols=2, bars=300, signal_r2=0, oracle=True)
    assert not table["oracle"].to_numpy().any()


@pytest.mark.parametrize(
    ("interval", "step"),
    [
        ("30s", timedelta(seconds=30)),
        ("5m", timedelta(minutes=5)),
        ("1d", timedelta(days=1)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_interval(interval, step):
    times = simulate(symbols=1, bars=3, interval=interval)["open_time"].to_pylist()
    assert times[2] - times[1] == times[1] - times[0] == step


def test_start_may_carry_a_zone():
    start = datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert simulate(symbols=1, bars=1, start=start)["open_time"][0].as_py() == datetime(2024, 5, 1, tzinfo=UTC)
    assert simulate(symbols=1, bars=1, start="2024-05-01T03:00")["open_time"][0].as_py().hour == 3


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"symbols": 0}, "symbols"),
        ({"symbols": -1}, "simulate"),
        ({"bars": 0}, "bars"),
        ({"interval": "1x"}, "interval"),
        ({"interval": "0h"}, "interval"),
        ({"signal_r2": 0.5}, "signal_r2"),
        ({"signal_r2": float("nan")}, "signal_r2"),
        ({"horizon": 0}, "horizon"),
        ({"volatility": 0.0}, "volatility"),
        ({"market_share": 1.5}, "market_share"),
        ({"start": "yesterday"}, "start"),
    ],
)
def test_bad_settings_are_named(setting, name):
    with pytest.raises(SchemaError, match=name):
        simulate(**{"symbols": 1, "bars": 10, **setting})
