"""Labels against a plain NumPy formula, in panels, with rows in any order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from qtfeat.errors import SchemaError
from qtfeat.labels import SIDES, forward_labels


def panel(closes: dict[str, list[float | None]]) -> pa.Table:
    symbols = [name for name, values in closes.items() for _ in values]
    times = [i * 3_600_000 for values in closes.values() for i in range(len(values))]
    return pa.table(
        {
            "symbol": pa.array(symbols, pa.string()),
            "open_time": pa.array(times, pa.timestamp("ms", tz="UTC")),
            "close": pa.array([v for values in closes.values() for v in values], pa.float64()),
        }
    )


def test_against_numpy():
    rng = np.random.default_rng(3)
    close = 100 * np.exp(np.cumsum(0.005 * rng.standard_normal(1000)))
    labels = forward_labels(panel({"A": close.tolist()}), horizon=7, threshold=0.01)
    expected = close[7:] / close[:-7] - 1
    assert np.array_equal(labels.value[:-7], expected)
    assert np.isnan(labels.value[-7:]).all()
    assert np.array_equal(labels.side[:-7], np.where(expected > 0.01, 2, np.where(expected < -0.01, 0, 1)))
    assert (labels.side[-7:] == -1).all()
    assert not labels.known[-7:].any()
    opened = np.arange(1000) * np.timedelta64(1, "h") + np.datetime64("1970-01-01", "ns")
    assert np.array_equal(labels.t, opened + np.timedelta64(1, "h"))
    assert np.array_equal(labels.t_end[:-7], labels.t[7:])
    assert np.isnat(labels.t_end[-7:]).all()


def test_no_label_reaches_into_another_symbol():
    labels = forward_labels(panel({"A": [1.0, 2.0, 3.0], "B": [10.0, 10.0, 5.0]}), horizon=2, threshold=0.1)
    assert [SIDES[s] if s >= 0 else None for s in labels.side] == ["BUY", None, None, "SELL", None, None]


def test_rows_in_any_order_and_chunks_of_any_size():
    rng = np.random.default_rng(4)
    table = panel({name: np.exp(rng.standard_normal(50)).tolist() for name in "ABC"})
    straight = forward_labels(table, horizon=3)
    order = rng.permutation(table.num_rows)
    mixed = pa.concat_tables([table.take(order[:40]), table.take(order[40:])])
    shuffled = forward_labels(mixed, horizon=3)
    assert np.array_equal(shuffled.value, straight.value[order], equal_nan=True)
    assert np.array_equal(shuffled.side, straight.side[order])
    assert np.array_equal(shuffled.t_end, straight.t_end[order], equal_nan=True)
    parts = [mixed.slice(0, 40), mixed.slice(40)]
    parts = [p.set_column(0, "symbol", p["symbol"].combine_chunks().dictionary_encode()) for p in parts]
    encoded = forward_labels(pa.concat_tables(parts), horizon=3)
    assert np.array_equal(encoded.side, shuffled.side)


def test_one_series_without_symbol_and_without_rows():
    table = panel({"A": [1.0, 2.0, 4.0]}).drop_columns("symbol")
    assert forward_labels(table, horizon=1, by=None).value[:2].tolist() == [1.0, 1.0]
    assert len(forward_labels(panel({}), horizon=1).side) == 0


def test_a_null_close_empties_the_labels_that_need_it():
    labels = forward_labels(panel({"A": [1.0, None, 2.0, 3.0]}), horizon=1)
    assert labels.known.tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("closes", "settings", "text"),
    [
        ([1.0, 0.0], {}, "row 1"),
        ([1.0, -2.0], {}, "above 0"),
        ([1.0, float("inf")], {}, "infinite"),
        ([1.0, 1.0], {"horizon": 0}, "horizon"),
        ([1.0, 1.0], {"horizon": -1}, "labels"),
        ([1.0, 1.0], {"threshold": -0.1}, "threshold"),
        ([1.0, 1.0], {"time": "when"}, "when"),
        ([1.0, 1.0], {"time": "close"}, "datetime"),
    ],
)
def test_bad_input_is_named(closes, settings, text):
    with pytest.raises(SchemaError, match=text):
        forward_labels(panel({"A": closes}), **settings)


def test_null_times_and_symbols_are_refused():
    table = panel({"A": [1.0, 2.0]})
    for name in ("symbol", "open_time"):
        column = pa.array([None, table[name][1].as_py()], table[name].type)
        broken = table.set_column(table.column_names.index(name), name, column)
        with pytest.raises(SchemaError, match=name):
            forward_labels(broken)
