"""Bars: every recorded file is read right or refused with the right reason; every made defect is found."""

from __future__ import annotations

import io
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from qtfeat.bars import BAR_SCHEMA, read_bars
from qtfeat.errors import SchemaError

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
recorded = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded market data at {DATA} (set QTFEAT_DATA)")

# file: (rows, symbol, interval, what the report counts, what a note says)
MINUTE, HOUR, FIVE = timedelta(minutes=1), timedelta(hours=1), timedelta(minutes=5)
READ = {
    "bad_input/ADA_BTC-5m.feather": (5720, "ADA_BTC", FIVE, {"gap": 5}, "timestamp[ns, tz=UTC]"),
    "bad_input/AVAXUSDT-1m-2023-09.zip": (43200, "AVAXUSDT", MINUTE, {"zero_volume": 22, "frozen": 1}, "epoch ms"),
    "bad_input/COCOSUSDT_1h.parquet": (5386, "COCOSUSDT", HOUR, {"gap": 7, "zero_volume": 3, "jump": 1}, "ms"),
    "bad_input/Coinbase_BTCUSD_1h.csv": (
        *(20111, "BTCUSD", HOUR),
        *({"unsorted": 20105, "zero_volume": 28, "frozen": 1}, "line 1 skipped: 'Timestamps are UTC"),
    ),
    "bad_input/UNITTEST_BTC-1m.feather": (13681, "UNITTEST_BTC", MINUTE, {"gap": 538}, "UNITTEST_BTC"),
    "bad_input/XRP_ETH-1m.feather": (2469, "XRP_ETH", MINUTE, {"gap": 676}, "from the file name"),
    "vision_raw/ADABTC-1m-2021-11-27.csv": (10, "ADABTC", MINUTE, {}, "no header: read as Binance klines"),
    "vision_raw/ADABTC-1m-2021-11-28.csv": (11, "ADABTC", MINUTE, {}, "epoch ms"),
    "vision_raw/BTCUSDT-1h-2024-12.csv": (744, "BTCUSDT", HOUR, {}, "epoch ms"),
    "vision_raw/BTCUSDT-1h-2024-12.zip": (744, "BTCUSDT", HOUR, {}, "epoch ms"),
    "vision_raw/BTCUSDT-1h-2025-01.csv": (744, "BTCUSDT", HOUR, {}, "epoch us"),
    "vision_raw/BTCUSDT-1h-2025-01.zip": (744, "BTCUSDT", HOUR, {}, "epoch us"),
    "vision_raw/NEARUSDT-1m-2024-02.zip": (41760, "NEARUSDT", MINUTE, {}, "epoch ms"),
}
# file: what the refusal says
REFUSED = {
    "bad_input/UNITTEST_BTC-8m.feather": r"UNITTEST_BTC-8m\.feather: the file is empty",
    "bad_input/binance_BTCUSDT_24h_2019_01_01_2020_01_01.csv": r"line 1: no header.*fits only 0 of.*columns=\[",
    "bad_input/test_negative_binance_trade_stream_spot_trxusdt_04-03-2025.csv": r"not OHLCV.*single trades",
    "ticks_funding_trades/binance_XRPETH_trades_2019-10.parquet": r"not OHLCV bars: no column for open, high",
    "ticks_funding_trades/bybit_BTCUSD_funding.parquet": r"not OHLCV bars: no column for open, high",
    "ticks_funding_trades/xrpusdt-ob500.data.zip": r"the zip holds no \.csv file",
}


@recorded
@pytest.mark.parametrize("name", READ)
def test_recorded_file_is_read_with_the_right_report(name: str) -> None:
    rows, symbol, interval, counts, note = READ[name]
    table, report = read_bars(DATA / name)
    assert table.schema == BAR_SCHEMA
    assert (table.num_rows, report.rows) == (rows, rows)
    assert report.intervals == {symbol: interval}
    assert report.counts == counts
    assert note in str(report)
    times = table.column("open_time").to_numpy().astype("int64")
    assert (np.diff(times) > 0).all()
    assert 2017 <= report.start.year <= report.end.year <= 2025


@recorded
@pytest.mark.parametrize("name", REFUSED)
def test_recorded_file_is_refused_with_the_right_reason(name: str) -> None:
    with pytest.raises(SchemaError, match=REFUSED[name]):
        read_bars(DATA / name)


@recorded
def test_the_table_above_names_every_recorded_file() -> None:
    files = {f"{folder}/{p.name}" for folder in ("bad_input", "vision_raw") for p in (DATA / folder).iterdir()}
    assert files == {name for name in (*READ, *REFUSED) if not name.startswith("ticks")}


@recorded
def test_milliseconds_and_microseconds_in_one_folder_make_one_series() -> None:
    table, report = read_bars(DATA / "vision_raw")
    btc = table.filter(pa.compute.equal(table.column("symbol"), "BTCUSDT"))
    times = btc.column("open_time").to_numpy().astype("int64")
    assert len(btc) == 2 * 744
    assert set(np.diff(times)) == {3_600_000}
    assert report.counts == {"gap": 1, "duplicate": 2 * 744}


@recorded
def test_columns_given_for_a_file_without_header() -> None:
    name = "bad_input/binance_BTCUSDT_24h_2019_01_01_2020_01_01.csv"
    columns = ["open_time", "volume", "open", "high", "low", "close"]
    table, report = read_bars(DATA / name, columns=columns, symbol="BTCUSDT")
    assert table.num_rows == 365
    assert report.intervals == {"BTCUSDT": timedelta(days=1)}
    assert report.counts == {"bad_row": 176}
    assert "row 2, 2019-01-03" in str(report)


@recorded
def test_redenomination_is_named() -> None:
    _, report = read_bars(DATA / "bad_input/COCOSUSDT_1h.parquet")
    (jump,) = (f for f in report.findings if f.kind == "jump")
    assert "redenomination by 10^3" in jump.examples[0]
    assert "row 1174" in jump.examples[0]


@recorded
def test_clean_panel_has_nothing_to_report() -> None:
    table, report = read_bars(DATA / "panel_1h")
    assert table.num_rows == 15 * 19_704
    assert report.ok
    assert "nothing found" in str(report)


# --- made bars

START = 1_700_000_000_000 // 3_600_000 * 3_600_000


def bars(n: int = 50) -> dict[str, np.ndarray]:
    close = 100 + np.sin(np.arange(n) / 5)
    return {
        "open_time": START + 3_600_000 * np.arange(n),
        "open": close + 0.1,
        "high": close + 1,
        "low": close - 1,
        "close": close,
        "volume": np.full(n, 7.0),
    }


def write(path: Path, columns: dict[str, np.ndarray]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def csv_text(columns: dict[str, np.ndarray], header: bool = True) -> str:
    out = io.StringIO()
    if header:
        out.write(",".join(columns) + "\n")
    for row in zip(*(c.tolist() for c in columns.values()), strict=True):
        out.write(",".join(map(str, row)) + "\n")
    return out.getvalue()


def at(columns: dict[str, np.ndarray], rows: list[int]) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in columns.items()}


@pytest.mark.parametrize("kind", ["parquet", "feather", "csv", "zip", "folder", "no header"])
def test_every_kind_of_file_gives_the_same_table(tmp_path: Path, kind: str) -> None:
    b = bars()
    expected, _ = read_bars(write(tmp_path / "X.parquet", b))
    path = tmp_path / "in" / "X-1h-2023-11.csv"
    path.parent.mkdir()
    match kind:
        case "parquet":
            path = write(path.with_name("X.parquet"), b)
        case "feather":
            path = path.with_name("X_1h.feather")
            pa.feather.write_feather(pa.table(b), str(path))
        case "csv" | "no header":
            path.write_text(csv_text(b, header=kind == "csv"))
        case "zip":
            path = path.with_suffix(".zip")
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("X-1h-2023-11.csv", csv_text(b))
        case "folder":
            write(path.with_name("X_1h.parquet"), at(b, list(range(20))))
            (path.with_name("X-1h-2023-12.csv")).write_text(csv_text(at(b, list(range(20, 50)))))
            path = path.parent
    table, report = read_bars(path)
    assert table.equals(expected)
    assert report.ok, str(report)


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-3), ("ms", 1), ("us", 1_000), ("ns", 1_000_000)])
def test_unit_of_epoch_times_is_decided_by_range(tmp_path: Path, unit: str, factor: float) -> None:
    b = bars()
    b["open_time"] = (b["open_time"] * factor).astype(np.int64)
    table, report = read_bars(write(tmp_path / "X.parquet", b))
    assert table.column("open_time")[0].as_py() == datetime.fromtimestamp(START / 1000, UTC)
    assert f"epoch {unit}, by range" in str(report)


@pytest.mark.parametrize("text", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %I-%p", "%Y-%m-%dT%H:%M:%SZ"])
def test_text_times(tmp_path: Path, text: str) -> None:
    b = bars()
    b["date"] = np.array([datetime.fromtimestamp(t / 1000, UTC).strftime(text) for t in b.pop("open_time")])
    (tmp_path / "X.csv").write_text(csv_text(b))
    table, report = read_bars(tmp_path / "X.csv")
    assert table.column("open_time").to_numpy().astype("int64")[[0, -1]].tolist() == [START, START + 49 * 3_600_000]
    assert report.ok


def test_unit_that_changes_inside_a_file_is_refused(tmp_path: Path) -> None:
    b = bars()
    b["open_time"][30:] *= 1_000
    with pytest.raises(SchemaError, match=r"X\.parquet: column 'open_time', row 30: \d+ is not a time in ms"):
        read_bars(write(tmp_path / "X.parquet", b))


def test_gaps_duplicates_conflicts_and_order(tmp_path: Path) -> None:
    b = at(bars(), [0, 1, 2, 2, 3, 10, 9, 11, 12, 12])
    b["close"][9] += 0.5
    table, report = read_bars(write(tmp_path / "X.parquet", b))
    assert report.counts == {"gap": 1, "duplicate": 1, "conflict": 1, "unsorted": 1}
    assert table.num_rows == 8
    text = str(report)
    assert "5 missing before X.parquet, row 6" in text
    # the first of two rows with one time is kept
    assert table.column("close")[-1].as_py() == b["close"][8]


BROKEN = {
    "a missing value": ("close", np.nan),
    "an infinite value": ("volume", np.inf),
    "a price of zero or less": ("low", 0.0),
    "negative volume": ("volume", -1.0),
    "high < low": ("high", 1.0),
    "open outside": ("open", 105.0),
    "close outside": ("close", 50.0),
    "a price outside": ("high", 1e111),
    "volume outside": ("volume", 1e-31),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_bad_row_is_kept_and_named(tmp_path: Path, rule: str) -> None:
    b = bars()
    name, value = BROKEN[rule]
    b[name][17] = value
    table, report = read_bars(write(tmp_path / "X.parquet", b))
    bad = [f for f in report.findings if f.kind == "bad_row"]
    assert [f.count for f in bad] == [1]
    assert rule in bad[0].text
    assert "X.parquet, row 17, " in bad[0].examples[0]
    assert table.num_rows == 50


def test_frozen_feed_needs_five_bars(tmp_path: Path) -> None:
    b = bars()
    for first, n in ((10, 4), (20, 6)):
        b["volume"][first : first + n] = 0
        for name in ("open", "high", "low", "close"):
            b[name][first : first + n] = b["close"][first]
    _, report = read_bars(write(tmp_path / "X.parquet", b))
    (frozen,) = (f for f in report.findings if f.kind == "frozen")
    assert frozen.count == 1
    assert frozen.examples[0].startswith("6 bars from X.parquet, row 20")
    assert report.counts["zero_volume"] == 10


def test_unfinished_last_bar(tmp_path: Path) -> None:
    path = write(tmp_path / "X.parquet", bars())
    last = datetime.fromtimestamp(START / 1000, UTC) + 49 * HOUR
    assert read_bars(path, now=last + HOUR)[1].ok
    assert read_bars(path, now=last + HOUR - timedelta(seconds=1))[1].counts == {"unfinished": 1}


def test_symbol_from_column_name_or_caller(tmp_path: Path) -> None:
    b = bars(4)
    for name in ("BTCUSDT_1h", "BTCUSDT-1h-2024-12", "BTCUSDT-1m-2024-12-31", "BTCUSDT"):
        assert set(read_bars(write(tmp_path / f"{name}.parquet", b))[1].intervals) == {"BTCUSDT"}
    b["Symbol"] = np.array(["B", "A", "B", "A"])
    table, _ = read_bars(write(tmp_path / "two.parquet", b))
    assert table.column("symbol").to_pylist() == ["A", "A", "B", "B"]
    assert set(read_bars(tmp_path / "two.parquet", symbol="Z")[1].intervals) == {"Z"}


def test_intervals_that_differ_within_one_symbol_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "X-1h-2024.parquet", bars())
    minutes = bars()
    minutes["open_time"] = START + 200 * 3_600_000 + 60_000 * np.arange(50)
    write(tmp_path / "X-1m-2024.parquet", minutes)
    with pytest.raises(SchemaError, match="X: the files hold bars of different intervals"):
        read_bars(tmp_path)


TEXTS = {
    "": "the file is empty",
    "open_time,open,high,low,close,volume\n": "no rows",
    "hello\nworld\n": "line 1: no header",
    "time,open,high,low,close\n1,2,3,4,5\n": "no column for volume",
    "time,open,high,low,close,Volume BTC,Volume USD\n": r"could each be the volume; say which",
    "open_time,open,high,low,close,volume\n1700000000000,1,1,1,1,1\n1700003600000,1,x,1,1,1\n": (
        r"line 3, column 'high': 'x' is not a number"
    ),
    "open_time,open,high,low,close,volume\n1700000000000,1,1,1,1,1\n17000036\n": r"line 3: 1 columns where 6",
    "open_time,open,high,low,close,volume\n12,1,1,1,1,1\n": "row 0: 12 is no epoch time",
    "open_time,open,high,low,close,volume\n31/12/2024,1,1,1,1,1\n": "cannot read the time '31/12/2024'",
    "open_time,open,high,low,close,volume\n1700000000000,1,1,1,1,1\n,1,1,1,1,1\n": "row 1: no open_time",
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_not_bars_is_refused_with_place_and_advice(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=TEXTS[text]) as caught:
        read_bars(path)
    assert str(caught.value).startswith("odd.csv")


@pytest.mark.parametrize("suffix", [".parquet", ".feather", ".zip", ".csv"])
def test_damaged_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X{suffix}"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(SchemaError, match=f"X{suffix}"):
        read_bars(path)


def test_missing_and_unknown_paths(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no such file"):
        read_bars(tmp_path / "absent")
    with pytest.raises(SchemaError, match="holds no file"):
        read_bars(tmp_path)
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(SchemaError, match="unknown kind of file"):
        read_bars(tmp_path / "x.xlsx")


def test_column_map(tmp_path: Path) -> None:
    b = bars()
    b["Volume BTC"], b["Volume USD"] = b.pop("volume"), np.ones(50)
    path = write(tmp_path / "X.parquet", b)
    table, _ = read_bars(path, columns={"volume": "Volume BTC"})
    assert table.column("volume")[0].as_py() == 7.0
    with pytest.raises(SchemaError, match="the column map says 'volume' is 'nope'"):
        read_bars(path, columns={"volume": "nope"})
    # of several volumes, the one of the symbol's base asset
    table, _ = read_bars(path, symbol="BTCUSDT")
    assert table.column("volume")[0].as_py() == 7.0


def test_parquet_with_a_damaged_page_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "X.parquet", bars(5000))
    data = bytearray(path.read_bytes())
    for at in range(1000, 60_000, 7):
        data[at] ^= 0x5A
    path.write_bytes(data)
    with pytest.raises(SchemaError, match=r"X\.parquet"):
        read_bars(path)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_extra_columns_come_along(tmp_path: Path, kind: str) -> None:
    b = bars()
    b["funding"] = np.arange(50)
    path = tmp_path / f"X.{kind}"
    if kind == "csv":
        path.write_text(csv_text(b))
    else:
        write(path, b)
    table, _ = read_bars(path, extras=["funding"])
    assert table.column("funding").to_pylist() == list(range(50))
    assert table.schema.field("funding").type == pa.float64()
    with pytest.raises(SchemaError, match="no column 'oi', which the features need") as caught:
        read_bars(path, extras=["oi"])
    assert caught.value.column == "oi"


def test_a_bad_time_among_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(csv_text(bars()) + "noon,1,1,1,1,1\n")
    with pytest.raises(SchemaError, match="row 50: cannot read the time 'noon'"):
        read_bars(path)


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("open_time,open,open,high,low,close,volume\n1704067200000,1,2,3,1,2,5\n")
    with pytest.raises(SchemaError, match="more than one column 'open'"):
        read_bars(path)


def test_seconds_that_milliseconds_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    table = pa.table(bars()).set_column(0, "open_time", pa.array([2**61] * 50, pa.timestamp("s")))
    pyarrow.feather.write_feather(table, path)
    with pytest.raises(SchemaError, match="row 0: 2305843009213693952 s is no time"):
        read_bars(path)


@pytest.mark.parametrize("what", [None, 5, pa.table({})])
def test_what_is_no_path(what: object) -> None:
    with pytest.raises(SchemaError, match="takes a path"):
        read_bars(what)
