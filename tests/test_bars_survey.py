"""`qtfeat inspect`: the same report as reading, symbol by symbol, and a map that shows every hole."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
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
from typer.testing import CliRunner

from fetch_server import kline_zip, klines
from qtfeat.bars import KLINE_SCHEMA, read_bars
from qtfeat.bars.coverage import count_times, coverage
from qtfeat.bars.rules import jumps
from qtfeat.bars.schema import origin_of
from qtfeat.bars.simulate import simulate
from qtfeat.bars.survey import survey
from qtfeat.cli.app import app
from qtfeat.errors import SchemaError
from sizes import SOAK

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
recorded = pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded market data at {DATA} (set QTFEAT_DATA)")
HOUR = 3_600_000


def lake(folder: Path, symbols: int = 3, bars: int = 24 * 50) -> pa.Table:
    """A file per symbol and month, symbols named by folders only."""
    table = simulate(symbols=symbols, bars=bars, start="2024-01-01", seed=9)
    months = pc.strftime(table.column("open_time"), "%Y-%m")
    for symbol in table.column("symbol").unique().to_pylist():
        for month in months.unique().to_pylist():
            part = table.filter(pc.and_(pc.equal(table.column("symbol"), symbol), pc.equal(months, month)))
            path = folder / "market=spot" / f"symbol={symbol}" / "interval=1h" / f"{month}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(part.drop_columns("symbol"), path)
    return table


def test_a_lake_by_folders_reads_as_one_table(tmp_path: Path) -> None:
    table = lake(tmp_path)
    found, report = read_bars(tmp_path)
    assert report.ok, str(report)
    assert found.equals(table)
    assert set(report.intervals.values()) == {timedelta(hours=1)}


@pytest.mark.parametrize("damage", [None, "gap", "conflict", "swap"])
def test_survey_equals_reading(tmp_path: Path, damage: str | None) -> None:
    lake(tmp_path)
    path = next(tmp_path.rglob("symbol=SIM001/*/2024-02.parquet"))
    part = pq.read_table(path)
    rows = list(range(part.num_rows))
    if damage == "gap":
        del rows[100:120]
    elif damage == "conflict":
        pq.write_table(part.slice(5, 1), path.with_name("extra.parquet"))
        part = part.set_column(1, "open", pc.multiply(part.column("open"), 1.0001))
    elif damage == "swap":
        rows[3:5] = [4, 3]
    pq.write_table(part.take(rows), path)
    _, whole = read_bars(tmp_path)
    seen: list[tuple[int, int]] = []
    parts, cover = survey(tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert parts == whole
    assert parts.ok == (damage is None)
    assert cover.symbols == ("SIM000", "SIM001", "SIM002")
    assert seen[-1][0] == seen[-1][1] == whole.files


def test_a_symbol_in_files_of_several_names_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    table = simulate(symbols=2, bars=200, seed=1)
    pq.write_table(table.slice(0, 300), tmp_path / "a.parquet")
    pq.write_table(table.slice(280), tmp_path / "b.parquet")
    report, cover = survey(tmp_path)
    assert report == read_bars(tmp_path)[1]
    assert report.counts == {"duplicate": 20}
    assert (cover.share == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    gone=st.sets(st.integers(1, 398), max_size=200),
    cells=st.integers(1, 80),
    start=st.integers(0, 10**6),
)
def test_coverage_shows_every_hole_and_nothing_else(gone: set[int], cells: int, start: int) -> None:
    there = np.array([i for i in range(400) if i not in gone])
    times = start * HOUR + there * HOUR
    cover = coverage({"X": count_times(times, timedelta(hours=1))}, cells)
    share = cover.share[0]
    assert ((share >= 0) & (share <= 1)).all()
    # what lacks on the map is what lacks
    assert (1 - share).mean() * 400 == pytest.approx(len(gone), abs=1e-6)
    edges = np.linspace(0, 400, len(share) + 1)
    for cell, (a, b) in enumerate(itertools.pairwise(edges)):
        touched = any(i < b - 1e-9 and i + 1 > a + 1e-9 for i in gone)
        assert (share[cell] < 1 - 1e-9) == touched
    assert ("█" * len(share) in str(cover)) == (not gone)


def test_coverage_of_symbols_that_come_late(tmp_path: Path) -> None:
    old = count_times(np.arange(1_000) * HOUR, timedelta(hours=1))
    new = count_times(np.arange(750, 1_000) * HOUR, timedelta(hours=1))
    cover = coverage({"OLD": old, "NEW": new, "ONE": count_times(np.array([999 * HOUR]), None)}, 4)
    assert cover.share.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1]]
    lines = str(cover).splitlines()
    assert lines[2] == "NEW |   █|"
    long = count_times(np.arange(1_000_000) * 60_000, timedelta(minutes=1))
    assert len(long.counts) <= 10_001
    assert (coverage({"X": long}).share > 1 - 1e-9).all()


# --- the command


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, ["inspect", *map(str, args)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_command(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    lake(folder)
    clean = invoke(folder, "--strict")
    assert clean.exit_code == 0
    assert "nothing found" in clean.output
    assert "SIM001 |████" in clean.output
    next(folder.rglob("symbol=SIM001/*/2024-01.parquet")).unlink()
    path = next(folder.rglob("symbol=SIM002/*/2024-01.parquet"))
    pq.write_table(pq.read_table(path).slice(0, 700), path)
    png = tmp_path / "coverage.png"
    done = invoke(folder, "--plot", png)
    assert done.exit_code == 0, done.output
    assert png.read_bytes().startswith(b"\x89PNG")
    assert invoke(folder, "--strict").exit_code == 2
    found = json.loads(invoke(folder, "--json").stdout)
    assert found["counts"] == {"gap": 1}
    assert found["interval_seconds"] == dict.fromkeys(("SIM000", "SIM001", "SIM002"), 3600.0)
    assert invoke(folder, "--plot", tmp_path / "map.xlsx").exit_code == 2
    assert invoke(tmp_path / "nothing").exit_code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["coverage.png", "lake"]


@pytest.mark.soak
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 for the peak memory of a child")
def test_a_lake_of_many_bars_in_seconds_and_flat_memory(tmp_path: Path) -> None:
    """Files of 1 M bars (20 k unless in a soak): time per bar, and memory that does not grow with the symbols."""
    bars = 1_000_000 if SOAK else 20_000
    table = simulate(symbols=1, bars=bars, interval="1m", start="2020-01-01", seed=2).drop_columns("symbol")
    peaks = []
    for folder, count in (("few", 2), ("many", 10)):
        for i in range(count):
            path = tmp_path / folder / f"S{i:02}_1m.parquet"
            path.parent.mkdir(exist_ok=True)
            pq.write_table(table, path)
        began = time.monotonic()
        code = "from qtfeat.cli import main; main()"
        running = subprocess.Popen(
            [sys.executable, "-c", code, "inspect", str(tmp_path / folder), "--strict"], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        assert running.returncode == 0
        # measured 0.4 s of CPU per million bars; the bound leaves room for other work on the machine
        assert time.monotonic() - began < 20 + 4e-6 * bars * count
        peaks.append(usage.ru_maxrss / 1024)
    assert peaks[1] < peaks[0] * 1.25 + 32, peaks


# --- what paths say, markets, months, jumps, columns of klines


PATHS = {
    "BTCUSDT-1h-2024-12.zip": ("BTCUSDT", "1h", ""),
    "data/spot/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip": ("BTCUSDT", "1h", "spot"),
    "data/futures/um/daily/klines/BTCUSDT_240628/1m/BTCUSDT_240628-1m-2024-06-01.zip": (
        *("BTCUSDT_240628", "1m", "futures/um"),
    ),
    "lake/bars/market=um/symbol=ETHUSDT/interval=5m/2024-01.parquet": ("ETHUSDT", "5m", "um"),
    "XRP_ETH-1m.feather": ("XRP_ETH", "1m", ""),
    "AAPL.csv": ("AAPL", "", ""),
    "BTCUSDT-1mo-2024-12.zip": ("BTCUSDT", "1mo", ""),
}


@pytest.mark.parametrize("path", PATHS)
def test_what_a_path_says(path: str) -> None:
    origin = origin_of(Path(path), Path(path).stem)
    assert (origin.symbol, origin.interval, origin.market) == PATHS[path]


def archive_file(root: Path, path: str, rows: list[list[Any]]) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(kline_zip(rows, target.stem))


def test_spot_and_futures_of_one_symbol_are_not_mixed(tmp_path: Path) -> None:
    rows = klines(simulate(symbols=1, bars=48, start="2024-12-01"), HOUR)
    archive_file(tmp_path, "data/spot/monthly/klines/X/1h/X-1h-2024-12.zip", rows)
    archive_file(tmp_path, "data/futures/um/monthly/klines/X/1h/X-1h-2024-12.zip", rows)
    with pytest.raises(SchemaError, match=r"X: bars of different markets \(.*futures/um.*spot\)\); read the markets"):
        read_bars(tmp_path)
    assert read_bars(tmp_path / "data" / "spot")[1].ok


def test_days_that_their_month_covers_are_left_out(tmp_path: Path) -> None:
    rows = klines(simulate(symbols=1, bars=33 * 24, start="2024-12-01"), HOUR)
    archive_file(tmp_path, "data/spot/monthly/klines/X/1h/X-1h-2024-12.zip", rows[: 31 * 24])
    for day, i in (("2024-12-31", 30), ("2025-01-01", 31), ("2025-01-02", 32)):
        archive_file(tmp_path, f"data/spot/daily/klines/X/1h/X-1h-{day}.zip", rows[24 * i : 24 * (i + 1)])
    table, report = read_bars(tmp_path)
    assert report.ok, str(report)
    assert (table.num_rows, report.files) == (33 * 24, 3)


def test_a_name_that_is_not_what_the_bars_are(tmp_path: Path) -> None:
    pq.write_table(simulate(symbols=1, bars=60, interval="1m").drop_columns("symbol"), tmp_path / "X_1h.parquet")
    with pytest.raises(SchemaError, match=r"X_1h.parquet: named as bars of 1:00:00, but they are 0:01:00 apart"):
        read_bars(tmp_path)


def test_sparse_minutes_named_by_their_file_are_gaps_not_another_interval(tmp_path: Path) -> None:
    bars = simulate(symbols=1, bars=200, interval="1m").drop_columns("symbol")
    pq.write_table(bars.slice(0, 100), tmp_path / "X-1m-2024-01.parquet")
    pq.write_table(bars.take(list(range(100, 200, 2))), tmp_path / "X-1m-2024-02.parquet")
    _, report = read_bars(tmp_path)
    assert report.intervals == {"X": timedelta(minutes=1)}
    assert report.counts == {"gap": 49}


def test_bars_of_months(tmp_path: Path) -> None:
    months = np.arange("2020-01", "2024-01", dtype="datetime64[M]").astype("datetime64[ms]")
    bars = simulate(symbols=1, bars=48, interval="1d").drop_columns(["symbol", "open_time"])
    table = bars.add_column(0, "open_time", pa.array(months))
    pq.write_table(table, tmp_path / "X_1mo.parquet")
    assert read_bars(tmp_path)[1].counts == {}
    pq.write_table(table.take([i for i in range(48) if i not in (7, 8)]), tmp_path / "X_1mo.parquet")
    _, report = read_bars(tmp_path)
    assert report.counts == {"gap": 1}
    assert "2 missing before X_1mo.parquet, row 7, 2020-10-01" in str(report)


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (1e3, "likely a redenomination by 10^3"),
        (1e-4, "likely a redenomination by 10^-4"),
        (0.5, "likely a split 2:1"),
        (1 / 1.5, "likely a split 1.5:1"),
        (20.0, "likely a reverse split 1:20"),
        (0.27, "close x 0.269922"),
    ],
)
def test_jumps_have_a_likely_cause(factor: float, text: str) -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, 300)))
    close[150:] *= factor
    ((row, found),) = jumps(close)
    assert row == 150
    assert text in found
    assert ("likely" in found) == ("likely" in text)


def test_a_price_that_comes_back_was_a_bad_one() -> None:
    close = 100 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 1e-3, 300)))
    close[150] *= 7.3
    (first, text), (second, _) = jumps(close)
    assert (first, second) == (150, 151)
    assert "and back after 1 bar(s): likely a bad price" in text


def test_a_wild_market_has_no_jumps() -> None:
    close = np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.15, 5_000)))
    assert jumps(close) == []


@pytest.mark.parametrize("micros", [False, True])
@pytest.mark.parametrize("header", [False, True])
def test_all_twelve_columns_typed(tmp_path: Path, header: bool, micros: bool) -> None:
    rows = klines(simulate(symbols=1, bars=48, start="2024-12-01"), HOUR)
    (tmp_path / "X-1h-2024-12.zip").write_bytes(kline_zip(rows, "X-1h-2024-12", header=header, micros=micros))
    table, report = read_bars(tmp_path, kline_columns=True)
    assert report.ok
    assert table.schema == KLINE_SCHEMA
    assert np.asarray(table.column("close_time").cast(pa.int64())).tolist() == [row[6] for row in rows]
    assert table.column("count").to_pylist() == [row[8] for row in rows]
    for position, name in (
        (7, "quote_volume"),
        (9, "taker_buy_volume"),
        (10, "taker_buy_quote_volume"),
        (11, "ignore"),
    ):
        assert table.column(name).to_pylist() == [float(row[position]) for row in rows]
    pq.write_table(simulate(symbols=1, bars=5), tmp_path / "bare.parquet")
    with pytest.raises(SchemaError, match="no column for close_time, quote_volume, count"):
        read_bars(tmp_path / "bare.parquet", kline_columns=True)


@recorded
def test_recorded_klines_with_all_columns() -> None:
    table, _ = read_bars(DATA / "vision_raw" / "BTCUSDT-1h-2025-01.zip", kline_columns=True)
    opened, closed = (np.asarray(table.column(name).cast(pa.int64())) for name in ("open_time", "close_time"))
    assert set(closed - opened) == {HOUR - 1}
    price = table.column("quote_volume").to_numpy() / table.column("volume").to_numpy()
    assert ((table.column("low").to_numpy() <= price) & (price <= table.column("high").to_numpy())).all()


@recorded
def test_recorded_minutes_and_five_minutes_are_not_mixed() -> None:
    with pytest.raises(SchemaError, match="BTCUSD: the files hold bars of different intervals"):
        read_bars(DATA / "long")
    report, cover = survey(DATA / "long" / "BTCUSD_1m_2017_2018.parquet")
    assert report.rows == 1_025_708
    missing = 2 * 365 * 24 * 60 - 1_025_708
    assert (1 - cover.share).mean() * 2 * 365 * 24 * 60 == pytest.approx(missing, rel=0.01)


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_files_and_streams(tmp_path: Path, kind: str) -> None:
    table = simulate(symbols=2, bars=50)
    path = tmp_path / "bars.arrow"
    make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
    with make(str(path), table.schema) as writer:
        writer.write_table(table)
    assert read_bars(path)[0].equals(table)
