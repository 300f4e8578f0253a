"""Tables in and out: kinds, types, chunks, symbols, times, and what must not happen to the caller's data."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import badbars as bb
import qtfeat as qf

N = 60
FS = qf.FeatureSet(["ema(4)", "rsi(5)", "bb(6,2).pct"])
ALL_CALLS: dict[str, Callable[[Any], Any]] = {
    "compute": lambda table: qf.compute(table, FS),
    "sequences": lambda table: qf.sequences(table, FS, length=3),
    "windows_at": lambda table: qf.windows_at(table, FS, [30], length=20),
    "batches": lambda table: list(qf.compute_batches(pa.table(table), FS)),
}


@pytest.fixture
def bars() -> bb.Table:
    return bb.good(N) | {"symbol": np.array(["b", "a", "c"] * (N // 3)), "note": np.arange(N)}


@pytest.fixture
def want(bars: bb.Table) -> bb.Matrix:
    return bb.matrix(qf.compute(bars, FS, by="symbol", time="time"), FS.columns)


# --- kinds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", bb.KINDS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_same_kind_out_as_in(kind: str, dtype: str, bars: bb.Table, want: bb.Matrix) -> None:
    table = bb.KINDS[kind](bars)
    out = qf.compute(table, FS, by="symbol", time="time", keep=["note"], dtype=dtype)
    if kind in ("duckdb", "reader"):
        assert hasattr(out, "__arrow_c_stream__")
        out = pa.table(out)
    else:
        assert type(out) is type(table)
    names = list(out) if isinstance(out, dict) else list(getattr(out, "column_names", out.columns))
    assert names == ["symbol", "time", "note", *FS.columns]
    assert list(np.asarray(out["note"])) == list(range(N)), "rows keep the caller's order"
    assert list(np.asarray(out["symbol"])) == list(bars["symbol"])
    got = bb.matrix(out, FS.columns)
    assert bb.same_bits(got, want if dtype == "float64" else want.astype(np.float32).astype(np.float64))
    assert str(np.asarray(out["ema"]).dtype) == dtype


@pytest.mark.parametrize("kind", bb.KINDS)
def test_no_value_is_a_null_where_there_are_nulls(kind: str, bars: bb.Table) -> None:
    out = qf.compute(bb.KINDS[kind](bars), FS)
    if kind == "dict":
        assert [int(np.isnan(out[c]).sum()) for c in FS.columns] == list(FS.warmup.values())
    elif kind == "pandas":
        assert len(out.dropna()) == N - max(FS.warmup.values())
    elif kind == "polars":
        assert out.drop_nulls().height == N - max(FS.warmup.values())
    else:
        table = pa.table(out)
        assert [table[c].null_count for c in FS.columns] == list(FS.warmup.values())
        assert table.drop_null().num_rows == N - max(FS.warmup.values())


@pytest.mark.parametrize(
    "index", [range(100, 100 + N), pd.date_range("2024", periods=N), [0] * N, list("ab" * (N // 2))]
)
def test_pandas_index_is_kept(index: Any, bars: bb.Table) -> None:
    frame = pd.DataFrame(bars, index=index)
    for keep in ([], ["note"]):
        out = qf.compute(frame, FS, keep=keep)
        assert out.index.equals(frame.index)
        assert list(out.columns) == [*keep, *FS.columns]


@pytest.mark.parametrize("kind", bb.KINDS)
@pytest.mark.parametrize("rows", [0, 1])
def test_no_rows_and_one_row(kind: str, rows: int, bars: bb.Table) -> None:
    out = qf.compute(bb.KINDS[kind](bb.take(bars, slice(0, rows))), FS, by="symbol", time="time", keep=["note"])
    out = pa.table(out) if kind in ("duckdb", "reader") else out
    names = list(out) if isinstance(out, dict) else list(getattr(out, "column_names", out.columns))
    assert names == ["symbol", "time", "note", *FS.columns]
    assert len(out["note"]) == rows == len(out["ema"])


def test_a_table_without_chunks_keeps_its_columns(bars: bb.Table) -> None:
    schema = bb.arrow(bars).schema
    bare = pa.table({f.name: pa.chunked_array([], f.type) for f in schema})
    assert qf.compute(bare, FS, by="symbol", time="time").schema.names == ["symbol", "time", *FS.columns]
    assert qf.compute(schema.empty_table(), FS, by="symbol").schema.field("symbol").type == pa.string()


@pytest.mark.parametrize("kind", ["pyarrow", "chunked", "duckdb", "reader"])
def test_metadata_travels(kind: str, bars: bb.Table) -> None:
    table = pa.table(qf.compute(bb.KINDS[kind](bars), FS, by="symbol"))
    assert table.schema.metadata[b"qtfeat.fingerprint"].decode() == FS.fingerprint
    field = table.schema.field("rsi").metadata
    assert (field[b"qtfeat.min"], field[b"qtfeat.max"], field[b"qtfeat.warmup"]) == (b"0", b"100", b"5")
    assert field[b"qtfeat.unit"]
    assert b"5" in field[b"qtfeat.params"]
    batch = next(iter(qf.compute_batches(bb.arrow(bars), FS)))
    assert batch.schema.metadata[b"qtfeat.fingerprint"].decode() == FS.fingerprint
    legacy = qf.FeatureSet(["rsi(5)"], numerics="legacy")
    filled = pa.table(qf.compute(bb.KINDS[kind](bars), legacy, by="symbol"))
    assert filled.schema.metadata[b"qtfeat.fingerprint"].decode() == legacy.fingerprint
    assert filled.schema.field("rsi").metadata[b"qtfeat.unit"]


# --- chunks and types ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 13, 59])
def test_odd_chunks(size: int, bars: bb.Table, want: bb.Matrix) -> None:
    table = bb.chunked(bb.arrow(bars), size)
    out = qf.compute(table, FS, by="symbol", time="time")
    assert bb.same_bits(bb.matrix(out, FS.columns), want)
    assert out["ema"].num_chunks == table["close"].num_chunks
    batches = list(qf.compute_batches(table, FS, by="symbol", time="time"))
    assert [b.num_rows for b in batches] == [b.num_rows for b in table.to_batches()]
    assert bb.same_bits(np.vstack([bb.matrix(b, FS.columns) for b in batches]), want)


def test_columns_chunked_each_in_its_own_way(bars: bb.Table, want: bb.Matrix) -> None:
    table = bb.arrow(bars)
    cuts = dict(zip(table.column_names, (3, 5, 17, 0, N, 1, 59, 8, 30), strict=True))
    parts = {n: pa.chunked_array([table[n].chunk(0).slice(0, c), table[n].chunk(0).slice(c)]) for n, c in cuts.items()}
    assert bb.same_bits(bb.matrix(qf.compute(pa.table(parts), FS, by="symbol", time="time"), FS.columns), want)
    loose = pa.concat_tables([table.slice(0, 0), table.slice(0, 5), table.slice(5, 0), table.slice(5)])
    assert bb.same_bits(bb.matrix(qf.compute(loose, FS, by="symbol", time="time"), FS.columns), want)


NUMBERS = ["float32", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", [k for k in bb.KINDS if k != "reader"])
def test_narrow_numbers_are_widened(number: str, kind: str) -> None:
    rng = np.random.default_rng(1)
    low = rng.integers(50, 60, N)
    close = low + rng.integers(0, 20, N)
    narrow = {"open": low, "high": close + 1, "low": low, "close": close, "volume": rng.integers(0, 100, N)}
    narrow = {name: column.astype(number) for name, column in narrow.items()}
    if number == "float32":
        narrow["close"] = (narrow["close"] + np.float32(0.1)).astype(number)
    wide = {name: column.astype(np.float64) for name, column in narrow.items()}
    want = bb.matrix(qf.compute(wide, FS), FS.columns)
    table = bb.KINDS[kind](narrow)
    assert bb.same_bits(bb.matrix(qf.compute(table, FS), FS.columns), want)
    assert bb.same_bits(qf.sequences(table, FS, length=1)[:, 0, :], want)
    assert bb.same_bits(qf.windows_at(table, FS, [N - 1], length=N, last="all")[0], want)


WRONG: dict[str, Callable[[Any], Any]] = {
    "text": lambda x: pa.array([str(v) for v in x]),
    "bool": lambda x: pa.array(x > 0),
    "decimal": lambda x: pa.array([decimal.Decimal(f"{v:.3f}") for v in x]),
    "nulls": lambda x: pa.nulls(len(x)),
    "lists": lambda x: pa.array([[v] for v in x]),
    "times": lambda x: pa.array(np.arange(1, len(x) + 1).astype("datetime64[s]")),
    "durations": lambda x: pa.array(np.arange(1, len(x) + 1).astype("timedelta64[s]")),
    "texts_dictionary": lambda x: pa.array([str(v) for v in x]).dictionary_encode(),
}
WRONG_NUMPY: dict[str, Callable[[Any], Any]] = {
    "text": lambda x: x.astype(str),
    "bool": lambda x: x > 0,
    "object_text": lambda x: x.astype(str).astype(object),
    "object_decimal": lambda x: np.array([decimal.Decimal(str(v)) for v in x], dtype=object),
    "complex": lambda x: x + 1j,
    "times": lambda x: np.arange(1, len(x) + 1).astype("datetime64[s]"),
    "two_axes": lambda x: x[:, None],
    "none": lambda x: None,
}


@pytest.mark.parametrize("call", ALL_CALLS)
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arrow_types(wrong: str, call: str, bars: bb.Table) -> None:
    table = bb.arrow(bars)
    bad = table.set_column(table.column_names.index("close"), "close", WRONG[wrong](bars["close"]))
    with pytest.raises(qf.SchemaError, match="close") as caught:
        ALL_CALLS[call](bad)
    assert caught.value.column == "close"


@pytest.mark.parametrize("call", ["compute", "sequences", "windows_at"])
@pytest.mark.parametrize("wrong", WRONG_NUMPY)
def test_wrong_numpy_types(wrong: str, call: str, bars: bb.Table) -> None:
    with pytest.raises(qf.SchemaError, match="close") as caught:
        ALL_CALLS[call](bars | {"close": WRONG_NUMPY[wrong](bars["close"])})
    assert caught.value.column == "close"


@pytest.mark.parametrize("kind", [*bb.KINDS])
def test_missing_columns(kind: str, bars: bb.Table) -> None:
    for name, fs in (("close", FS), ("flow", qf.FeatureSet(["x = flow / close"]))):
        part = {k: v for k, v in bars.items() if k != name}
        with pytest.raises(qf.SchemaError, match=name) as caught:
            qf.compute(bb.KINDS[kind](part), fs)
        assert caught.value.column == name
        with pytest.raises(qf.SchemaError, match=name):
            qf.sequences(bb.KINDS[kind](part), fs, length=2)
        with pytest.raises(qf.SchemaError, match=name):
            qf.windows_at(bb.KINDS[kind](part), fs, [5], length=2)
    for option in ({"by": "coin"}, {"time": "coin"}, {"keep": ["coin"]}, {"keep": "coin"}):
        with pytest.raises(qf.SchemaError, match="coin") as caught:
            qf.compute(bb.KINDS[kind](bars), FS, **option)
        assert caught.value.column == "coin"
    with pytest.raises(qf.SchemaError, match="time"):
        qf.compute(bb.KINDS[kind](bars), ["hour_sin"])


@pytest.mark.parametrize("bad", [None, 5, "bars", [1.0], np.zeros((3, 5)), pl.LazyFrame({"close": [1.0]})], ids=repr)
def test_what_is_no_table(bad: Any) -> None:
    for call in ("compute", "sequences", "windows_at"):
        with pytest.raises(qf.SchemaError):
            ALL_CALLS[call](bad)


@pytest.mark.parametrize(
    "bad", [pl.Series([1.0]), pa.array([1.0]), pa.chunked_array([[1.0]])], ids=["pl", "pa", "chunked"]
)
def test_an_arrow_column_is_no_table(bad: Any) -> None:
    for call in ("compute", "sequences", "windows_at"):
        with pytest.raises(qf.SchemaError):
            ALL_CALLS[call](bad)


def test_two_columns_of_one_name(bars: bb.Table) -> None:
    table = bb.arrow(bars)
    twice = table.append_column("close", table["open"])
    with pytest.raises(qf.SchemaError, match="close"):
        qf.compute(twice, FS)
    frame = pd.DataFrame(bars)
    with pytest.raises(qf.SchemaError, match="close"):
        qf.compute(pd.concat([frame, frame[["close"]]], axis=1), FS)


def test_columns_of_different_length(bars: bb.Table) -> None:
    for name in ("volume", "close", "time", "symbol", "note"):
        with pytest.raises(qf.SchemaError) as caught:
            qf.compute(bars | {name: bars[name][:-1]}, FS, by="symbol", time="time", keep=["note"])
        assert caught.value.column in (name, "close", "high", "low", "open", "volume"), name


def test_float32_saturates() -> None:
    price = np.array([1e60, 1e-60, 1.0, 3.40282356e38, 1e110])
    bars = dict.fromkeys(bb.OHLCV[:4], price) | {"volume": np.ones(5)}
    fs = qf.FeatureSet(["up = close * 1", "down = close * -1"])
    top = np.finfo(np.float32).max
    for out in (
        bb.matrix(qf.compute(bars, fs, dtype="float32"), fs.columns),
        qf.sequences(bars, fs, length=1, dtype="float32")[:, 0],
    ):
        assert np.array_equal(out, np.array([top, 0, 1, top, top])[:, None] * [1, -1])
    assert np.isfinite(qf.windows(np.stack([bars[c] for c in bb.OHLCV], 1)[:, None], fs, dtype="float32")).all()


def test_results_live_as_long_as_they_are_held(bars: bb.Table) -> None:
    column = qf.compute(bars, FS)["ema"]
    arrow = pa.table(qf.compute(bb.arrow(bars), FS))["ema"]
    frame = pl.DataFrame(qf.compute(bb.KINDS["polars"](bars), FS))["ema"]
    view = qf.sequences(bars, FS, length=5)
    held = [column.copy(), arrow.to_pylist(), frame.to_list(), view.copy()]
    other = bb.good(N, seed=99)
    for _ in range(40):
        qf.compute(other, FS)
    qf.release_memory()
    qf.compute(other, FS)
    assert np.array_equal(column, held[0], equal_nan=True)
    assert arrow.to_pylist() == held[1]
    assert frame.to_list() == held[2]
    assert bb.same_bits(view, held[3])
    assert not view.flags.writeable


# --- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2"])
def test_threads_must_be_a_count(threads: Any, bars: bb.Table) -> None:
    with pytest.raises(qf.SchemaError, match="threads"):
        qf.compute(bars, FS, threads=threads)


def test_columns_that_would_collide(bars: bb.Table) -> None:
    for kind, convert in bb.KINDS.items():
        with pytest.raises(qf.SchemaError, match="ema") as caught:
            qf.compute(convert(bars | {"ema": bars["close"]}), FS, keep=["ema"])
        assert caught.value.column == "ema", kind


# --- symbols ---------------------------------------------------------------------------------------------------------

CODES = [1, 0, 2] * (N // 3)
SYMBOLS: dict[str, Callable[[], pa.Array]] = {
    "text": lambda: pa.array(np.array(["a", "b", "c"])[CODES]),
    "large_text": lambda: pa.array(np.array(["a", "b", "c"])[CODES], pa.large_string()),
    "view": lambda: pa.array(np.array(["a", "b", "c"])[CODES]).cast(pa.string_view()),
    "empty_text": lambda: pa.array(np.array(["", "b", "c"])[CODES]),
    "dictionary": lambda: pa.array(np.array(["a", "b", "c"])[CODES]).dictionary_encode(),
    "narrow_dictionary": lambda: pa.DictionaryArray.from_arrays(pa.array(CODES, pa.int8()), ["z", "y", "x"]),
    "sliced_dictionary": lambda: pa.array(["q", "r", *np.array(["a", "b", "c"])[CODES]]).dictionary_encode().slice(2),
    "unused_null": lambda: pa.DictionaryArray.from_arrays(pa.array(CODES), ["a", "b", "c", None]),
    "numbers_dictionary": lambda: pa.array(CODES).dictionary_encode(),
    **{
        t: (lambda t=t: pa.array(CODES, t))
        for t in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
    },
    "close_numbers": lambda: pa.array([2**60 + c for c in CODES]),
}


@pytest.mark.parametrize("symbols", SYMBOLS)
def test_symbols_of_every_type(symbols: str, bars: bb.Table, want: bb.Matrix) -> None:
    table = bb.arrow(bars)
    table = table.set_column(table.column_names.index("symbol"), "symbol", SYMBOLS[symbols]())
    out = qf.compute(table, FS, by="symbol", time="time")
    assert bb.same_bits(bb.matrix(out, FS.columns), want)
    assert out["symbol"].type == table["symbol"].type
    batches = qf.compute_batches(bb.chunked(table, 7), FS, by="symbol", time="time")
    assert bb.same_bits(np.vstack([bb.matrix(b, FS.columns) for b in batches]), want)
    if symbols != "unused_null":
        frame = table.to_pandas()
        assert bb.same_bits(bb.matrix(qf.compute(frame, FS, by="symbol", time="time"), FS.columns), want)
        nullable = frame.assign(symbol=frame["symbol"].convert_dtypes())
        assert bb.same_bits(bb.matrix(qf.compute(nullable, FS, by="symbol", time="time"), FS.columns), want)


NULL_SYMBOLS: dict[str, Callable[[bb.Table], Any]] = {
    "numpy": lambda b: b | {"symbol": np.array([*b["symbol"][:7], None, *b["symbol"][8:]], dtype=object)},
    "numpy_nan": lambda b: b | {"symbol": np.where(np.arange(N) == 7, np.nan, 1.0)},
    "pyarrow": lambda b: bb.arrow({k: v for k, v in b.items() if k != "symbol"}).append_column("symbol", _gap(b)),
    "dictionary": lambda b: bb.arrow({k: v for k, v in b.items() if k != "symbol"}).append_column(
        "symbol", _gap(b).dictionary_encode()
    ),
    "pandas": lambda b: pd.DataFrame(b | {"symbol": _gap(b).to_pandas()}),
    "pandas_string": lambda b: pd.DataFrame(b | {"symbol": _gap(b).to_pandas().astype("string")}),
    "pandas_category": lambda b: pd.DataFrame(b | {"symbol": _gap(b).to_pandas().astype("category")}),
    "pandas_int": lambda b: pd.DataFrame(b | {"symbol": pd.array([1] * 7 + [None] + [1] * (N - 8), dtype="Int64")}),
}


def _gap(bars: bb.Table) -> pa.Array:
    return pa.array([None if i == 7 else s for i, s in enumerate(bars["symbol"])])


@pytest.mark.parametrize("kind", NULL_SYMBOLS)
def test_a_null_symbol_is_refused(kind: str, bars: bb.Table) -> None:
    with pytest.raises(qf.SchemaError, match="row 7") as caught:
        qf.compute(NULL_SYMBOLS[kind](bars), FS, by="symbol")
    assert caught.value.column == "symbol"


def test_symbols_that_only_look_alike(bars: bb.Table) -> None:
    mixed = np.array(["1", 1, 2] * (N // 3), dtype=object)
    try:
        out = bb.matrix(qf.compute(bars | {"symbol": mixed}, FS, by="symbol"), FS.columns)
    except qf.SchemaError:
        return
    assert bb.same_bits(out, bb.matrix(qf.compute(bars, FS, by="symbol"), FS.columns)), "1 and '1' were one series"
