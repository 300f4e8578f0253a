"""The lake of bars: appends that leave no trace of their order, whole or not at all; defects found and mended."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakes import command, filled, finish, invoke, killed_when, tree
from qtfeat.backfill import Lake, LakeBusyError, Partition, checks, manifest
from qtfeat.backfill.partition import month
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError
from sizes import scaled

BARS = simulate(symbols=2, bars=1_800, seed=3)
ONE = Partition("spot", "SIM000", "1h")


def test_layout_and_contents(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    assert [str(p) for p in lake.partitions()] == ["spot/SIM000/1h", "spot/SIM001/1h"]
    assert lake.read(ONE).equals(BARS.filter(pc.equal(BARS["symbol"], "SIM000")))
    file = tmp_path / "bars/market=spot/symbol=SIM000/interval=1h/2023-02.parquet"
    meta = pq.read_metadata(file)
    group = meta.row_group(0)
    assert group.num_rows == 28 * 24
    columns = [group.column(i) for i in range(group.num_columns)]
    assert {c.compression for c in columns} == {"ZSTD"}
    assert all(c.statistics is not None and c.statistics.has_min_max for c in columns)
    entry = lake.months(ONE)["2023-02"]
    assert (entry.rows, entry.size, entry.sha256) == (672, file.stat().st_size, manifest.digest(file.read_bytes()))


def test_read_by_other_libraries(tmp_path: Path) -> None:
    filled(tmp_path)
    found = pads.dataset(tmp_path / "bars", partitioning="hive", format="parquet").to_table()
    assert found.num_rows == 6_000
    assert set(found.column_names) >= {"symbol", "market", "interval", "close"}


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), pieces=st.integers(1, 6))
def test_order_and_pieces_leave_no_trace(tmp_path_factory: pytest.TempPathFactory, seed: int, pieces: int) -> None:
    rng = np.random.default_rng(seed)
    whole, other = (tmp_path_factory.mktemp("lake") for _ in range(2))
    Lake(whole).add(BARS, "spot", "1h")
    shuffled = rng.permutation(BARS.num_rows)
    for piece in np.array_split(shuffled, pieces):
        # Each piece comes with some bars that were there before.
        again = rng.choice(shuffled, size=50)
        Lake(other).add(BARS.take(np.concatenate([piece, again])), "spot", "1h")
    assert tree(whole) == tree(other)


def test_adding_again_changes_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first = lake.add(BARS, "spot")
    before = tree(tmp_path)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")}
    again = lake.add(BARS, "spot")
    assert [(a.new, a.months) for a in first] == [(1_800, ("2023-01", "2023-02", "2023-03"))] * 2
    assert [(a.new, a.same, a.months) for a in again] == [(0, 1_800, ())] * 2
    assert tree(tmp_path) == before
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.parquet")} == stamps


def test_other_values_follow_the_policy(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    volume = BARS["volume"].to_numpy().copy()
    volume[5] += 1.0
    other = BARS.set_column(6, "volume", pa.array(volume))
    before = tree(tmp_path)
    with pytest.raises(SchemaError, match=r"spot/SIM000/1h 2023-01: the bar of 2023-01-01T05:00.*volume") as error:
        lake.add(other, "spot")
    assert error.value.column == "volume"
    assert tree(tmp_path) == before
    kept = lake.add(other, "spot", on_conflict="keep")
    assert (kept[0].kept, kept[0].months) == (1, ())
    assert tree(tmp_path) == before
    replaced = lake.add(other, "spot", on_conflict="replace")
    assert (replaced[0].replaced, replaced[0].months) == (1, ("2023-01",))
    assert lake.read(ONE)["volume"][5].as_py() == volume[5]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop_columns(["close"]), "column 'close' is missing"),
        (lambda t: t.slice(0, 0), "there are no bars"),
        (lambda t: t.append_column("note", pa.array(["x"] * t.num_rows)), "column 'note' of type string"),
        (lambda t: t.set_column(0, "symbol", pa.nulls(t.num_rows, pa.string())), "column 'symbol', row 0: null"),
        (lambda t: t.set_column(5, "close", pa.array(["x"] * t.num_rows)), "column 'close' of type string cannot"),
    ],
)
def test_bars_that_do_not_fit_are_refused(tmp_path: Path, spoil: Callable[[pa.Table], pa.Table], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Lake(tmp_path).add(spoil(BARS), "spot")
    assert not list(tmp_path.rglob("*.parquet"))


def test_interval(tmp_path: Path) -> None:
    minutes = simulate(symbols=1, bars=100, interval="5m")
    assert Lake(tmp_path).add(minutes, "spot")[0].partition.interval == "5m"
    with pytest.raises(SchemaError, match="are closer than 1h"):
        Lake(tmp_path).add(minutes, "spot", "1h")
    with pytest.raises(SchemaError, match="one bar tells no interval"):
        Lake(tmp_path).add(minutes.slice(0, 1), "spot")
    with pytest.raises(SchemaError, match="interval"):
        Lake(tmp_path).add(minutes, "spot", "often")


@pytest.mark.parametrize("text", ["1h", "60m", "1H", " 1h ", "3600s"])
def test_an_interval_is_one_series_however_it_is_written(tmp_path: Path, text: str) -> None:
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    assert Partition("spot", "SIM000", text) == ONE
    assert {(a.partition.interval, a.new) for a in lake.add(BARS, "spot", text)} == {("1h", 0)}
    assert len(lake.partitions(intervals=[text])) == 2
    assert {p.name for p in tmp_path.glob("bars/*/*/*")} == {"interval=1h"}


def test_a_folder_with_another_spelling_is_refused(tmp_path: Path) -> None:
    Lake(tmp_path).add(BARS, "spot")
    home = tmp_path / HOME
    home.rename(home.with_name("interval=60m"))
    with pytest.raises(SchemaError, match=r"interval=60m': the interval is written '1h'"):
        Lake(tmp_path).partitions()


def test_bars_of_a_longer_interval_are_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(SchemaError, match=r"spot/SIM000/30m.*1800 s, but no two bars .* closer than '1h'"):
        lake.add(BARS, "spot", "30m")
    assert not list(tmp_path.rglob("*.parquet"))
    one = BARS.filter(pc.equal(BARS["symbol"], "SIM000"))
    for row in (1_500, 3):  # two bars tell nothing yet, the third does, in whatever month it is
        lake.add(one.slice(row, 1), "spot", "30m")
    with pytest.raises(SchemaError, match="closer than"):
        lake.add(one.slice(900, 1), "spot", "30m")


def test_bars_with_gaps_are_no_longer_interval(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    one = BARS.filter(pc.equal(BARS["symbol"], "SIM000"))
    lake.add(one.take([3, 4, 50, 60, 1_000]), "spot", "1h")
    assert lake.add(one.take([70, 80, 90, 1_100]), "spot", "1h")[0].new == 4


def test_further_columns_are_kept_and_must_stay(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    trades = BARS.append_column("trades", pa.array(np.arange(BARS.num_rows)))
    lake.add(trades, "spot")
    assert lake.read(ONE).schema.field("trades").type == pa.int64()
    with pytest.raises(SchemaError, match="the lake has columns"):
        lake.add(BARS, "spot")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "a b", "..", ".", "1000PEPE", "ÄÖ=%", "x" * 80])
def test_any_symbol_has_a_folder(tmp_path: Path, symbol: str) -> None:
    bars = BARS.slice(0, 100).set_column(0, "symbol", pa.array([symbol] * 100))
    lake = Lake(tmp_path / "lake")
    lake.add(bars, "spot")
    assert [p.symbol for p in lake.partitions()] == [symbol]
    assert lake.read(lake.partitions()[0])["symbol"].unique().to_pylist() == [symbol]
    assert {p.name for p in tmp_path.iterdir()} == {"lake"}


@pytest.mark.parametrize("text", ["2023", "2023-13", "23-01", "2023-1", "2023-01x", "", 202301])
def test_months(text: Any) -> None:
    with pytest.raises(SchemaError, match="must be a month"):
        month(text)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with (
        lake.store.lock(".lock", lake.root),
        pytest.raises(LakeBusyError, match=r"is being written by process \d+: wait for it, or stop it"),
    ):
        Lake(tmp_path).add(BARS, "spot")
    Lake(tmp_path).add(BARS, "spot")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="no bars there"):
        Lake(tmp_path).partitions()
    lake = filled(tmp_path)
    with pytest.raises(SchemaError, match="no bars of 'NONE'; symbols there: SIM000"):
        lake.partitions(symbols=["SIM000", "NONE"])


# --- killed writers -------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_a_killed_writer_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    more = simulate(symbols=2, bars=9_000, seed=3)
    source = tmp_path / "more.parquet"
    pq.write_table(more, source)
    whole = tmp_path / "whole"
    Lake(whole).add(BARS, "spot")
    old = {p.symbol: Lake(whole).read(p) for p in Lake(whole).partitions()}
    Lake(whole).add(more, "spot")
    wanted, new = tree(whole), {p.symbol: Lake(whole).read(p) for p in Lake(whole).partitions()}
    rng, codes = random.Random(1), set()
    for attempt in range(scaled(20, 3)):
        root = tmp_path / f"lake{attempt}"
        lake = Lake(root)
        lake.add(BARS, "spot")
        # At a moment drawn over the writing itself: so many files are staged or in place.
        files, at = len(list(root.rglob("*"))), rng.randrange(1, 40)
        process = command("lake", "add", root, source, "--interval", "1h")
        code = killed_when(process, lambda root=root, n=files + at: len(list(root.rglob("*"))) >= n)
        assert code in (-signal.SIGKILL, 0)
        codes.add(code)
        for partition in Lake(root).partitions():
            found = Lake(root).read(partition)
            assert found.equals(old[partition.symbol]) or found.equals(new[partition.symbol]), attempt
        Lake(root).add(more, "spot")
        assert tree(root) == wanted, attempt
    assert -signal.SIGKILL in codes, "every writer was done before it was killed"


def test_a_decided_change_is_carried_out_by_whoever_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path / "lake")
    lake.add(BARS.slice(0, 900), "spot", "1h")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lake.store, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            lake.add(BARS.slice(0, 1_800), "spot", "1h")
    problems = [str(p) for p in checks.check(lake, lake.partitions())]
    assert any("killed before it had finished" in p for p in problems)
    assert lake.read(ONE).num_rows == 1_800
    assert not list(checks.check(lake, lake.partitions()))
    Lake(tmp_path / "whole").add(BARS.slice(0, 1_800), "spot", "1h")
    assert tree(tmp_path / "lake") == tree(tmp_path / "whole")


# --- check and repair -----------------------------------------------------------------------------------------------

HOME = "bars/market=spot/symbol=SIM000/interval=1h"


def _write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path)


def _shuffle(root: Path) -> None:
    path = root / HOME / "2023-02.parquet"
    table = pq.ParquetFile(path).read()
    _write(path, table.take(np.roll(np.arange(table.num_rows), 1)))


def _edit(root: Path) -> None:
    path = root / HOME / "2023-02.parquet"
    _write(path, pq.ParquetFile(path).read().slice(1))


def _flip(root: Path) -> None:
    path = root / HOME / "2023-02.parquet"
    data = bytearray(path.read_bytes())
    data[-2] ^= 0xFF
    path.write_bytes(bytes(data))


def _manifest_lies(root: Path) -> None:
    path = root / HOME / "_manifest.json"
    told = json.loads(path.read_text())
    told["months"][1]["rows"] += 1
    path.write_text(json.dumps(told))


DEFECTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "missing": (lambda r: (r / HOME / "2023-02.parquet").unlink(), "in the manifest, but missing", "dropped"),
    "cut": (lambda r: (r / HOME / "2023-02.parquet").write_bytes(b"PAR1"), "cannot be read as Parquet", "set aside"),
    "flipped": (_flip, "cannot be read as Parquet", "set aside"),
    "shuffled": (_shuffle, "row 1: times do not strictly increase", "set aside"),
    "edited": (_edit, "changed since it was written", "accepted"),
    "foreign": (lambda r: _write(r / HOME / "2023-02.parquet", pa.table({"a": [1]})), "other columns", "set aside"),
    "wrong month": (
        lambda r: (r / HOME / "2023-02.parquet").rename(r / HOME / "2023-04.parquet"),
        "bars of 2023-02",
        "set aside",
    ),
    "wrong symbol": (
        lambda r: (r / HOME / "2023-02.parquet").write_bytes(
            (r / HOME.replace("SIM000", "SIM001") / "2023-02.parquet").read_bytes()
        ),
        "bars of 'SIM001'",
        "set aside",
    ),
    "no manifest": (lambda r: (r / HOME / "_manifest.json").unlink(), "not in the manifest", "accepted"),
    "torn manifest": (lambda r: (r / HOME / "_manifest.json").write_text("{"), "damaged manifest", "put in order"),
    "lying manifest": (_manifest_lies, "tells rows or times wrongly", "accepted"),
    "left over": (lambda r: (r / HOME / ".2023-02.parquet.1-2.part").touch(), "left behind", "put in order"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_check_finds_and_repair_mends(tmp_path: Path, defect: str) -> None:
    spoil, what, action = DEFECTS[defect]
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    assert not list(checks.check(lake, lake.partitions()))
    spoil(tmp_path)
    before = tree(tmp_path)
    assert any(what in str(p) for p in checks.check(lake, lake.partitions()))
    assert tree(tmp_path) == before, "check changes nothing"
    done = [str(p) for p in checks.repair(lake, lake.partitions())]
    assert any(what in p and action in p for p in done), done
    assert not list(checks.check(lake, lake.partitions()))
    if action == "set aside":
        assert list((tmp_path / checks.QUARANTINE).rglob("*.parquet"))
    lake.add(BARS, "spot")
    assert lake.read(ONE).equals(BARS.filter(pc.equal(BARS["symbol"], "SIM000")))


def test_a_file_that_was_changed_is_not_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    _edit(tmp_path)
    with pytest.raises(SchemaError, match=r"2023-02.parquet is not what its manifest says .* qtfeat lake repair"):
        lake.read(ONE)


# --- the command ----------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path) -> None:
    source = tmp_path / "bars.parquet"
    pq.write_table(BARS, source)
    lake = tmp_path / "lake"
    assert "spot/SIM000/1h: 1,800 new, 0 there already; 3 files written" in invoke("lake", "add", lake, source).output
    assert "0 new, 1,800 there already; 0 files written" in invoke("lake", "add", lake, source).output
    listed = invoke("lake", "ls", lake, "--symbols", "SIM001").output
    assert "SIM001" in listed
    assert "1,800" in listed
    assert "SIM000" not in listed
    assert invoke("lake", "check", lake).exit_code == 0
    _edit(lake)
    found = invoke("lake", "check", lake)
    assert (found.exit_code, "changed since" in found.output) == (1, True)
    assert "accepted as it is" in invoke("lake", "repair", lake).output
    assert invoke("lake", "check", lake).exit_code == 0
    refused = invoke("lake", "ls", tmp_path / "none")
    assert (refused.exit_code, "no bars there" in refused.output) == (2, True)


def test_the_market_is_what_the_path_says(tmp_path: Path) -> None:
    one = BARS.filter(pc.equal(BARS["symbol"], "SIM000"))
    for market in ("futures/um", "spot"):
        (tmp_path / "data" / market).mkdir(parents=True)
        pq.write_table(one, tmp_path / "data" / market / "SIM000-1h-2023-01.parquet")
    lake = tmp_path / "lake"
    assert "um/SIM000/1h: " in invoke("lake", "add", lake, tmp_path / "data" / "futures").output
    assert "spot/SIM000/1h: " in invoke("lake", "add", lake, tmp_path / "data" / "spot").output
    assert "cm/SIM000/1h: " in invoke("lake", "add", lake, tmp_path / "data" / "spot", "--market", "cm").output
    refused = invoke("lake", "add", lake, tmp_path / "data")
    assert (refused.exit_code, "files of several markets (spot, um)" in refused.output) == (2, True)


def test_the_command_as_a_process(tmp_path: Path) -> None:
    code, out, err = finish(command("lake", "ls", tmp_path))
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
