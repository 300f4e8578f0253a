"""The command line: what it prints, writes, leaves behind, and the codes it exits with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

import qtfeat as qf
from qtfeat.bars import read_bars
from qtfeat.bars.simulate import simulate
from qtfeat.cli.app import app
from qtfeat.cli.options import friendly
from qtfeat.errors import BadBarError, GateFailed, SchemaError

COMMANDS = ("backfill", "catalog", "compute", "fetch", "inspect", "lake", "models", "plot", "run", "verify")


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def qtfeat(*args: str | Path, **options: Any) -> subprocess.Popen[str]:
    code = "from qtfeat.cli import main; main()"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], **(pipes | options))


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "bars.parquet"
    pq.write_table(simulate(symbols=3, bars=700, seed=5), path, row_group_size=300)
    return path


def with_value(source: Path, target: Path, column: str, row: int, value: float) -> Path:
    table = pq.read_table(source)
    values = table.column(column).to_numpy().copy()
    values[row] = value
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, pa.array(values)), target)
    return target


# --- help and start ---


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"qtfeat {command}" in result.output


def test_help_names_every_command_and_the_exit_codes() -> None:
    result = invoke("--help")
    assert all(command in result.output for command in COMMANDS)
    assert "2 bad input" in result.output
    assert invoke("--version").output.startswith("qtfeat ")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['qtfeat', '--help']\n"
        "from qtfeat.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'xgboost', 'lightgbm', 'sklearn', 'matplotlib', 'pandas', 'polars', 'scipy'}\n"
        "print('heavy:', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("heavy: []\n")


def test_says_what_to_install_without_typer() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom qtfeat.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "qtfeat[cli]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_codes() -> None:
    for error, code in ((GateFailed("collapsed"), 3), (SchemaError("no close"), 2), (FileNotFoundError("gone"), 2)):
        with pytest.raises(typer.Exit) as caught, friendly():
            raise error
        assert caught.value.exit_code == code
    with pytest.raises(typer.Exit) as caught, friendly():
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
    assert caught.value.exit_code == 1
    with pytest.raises(ModuleNotFoundError), friendly():
        raise ModuleNotFoundError("a bug of ours", name="qtfeat.lost")


# --- catalog ---


def test_catalog_lists_every_output() -> None:
    result = invoke("catalog")
    assert result.exit_code == 0
    for name in qf.catalog().column("output").to_pylist():
        assert name in result.output
    one = invoke("catalog", "macd")
    assert "formula:" in one.output
    rows = [json.loads(line) for line in invoke("catalog", "macd", "--json").output.splitlines()]
    assert [row["id"] for row in rows] == ["macd"] * 3
    assert invoke("catalog", "nope").exit_code == 2


# --- compute ---


def test_compute_writes_the_same_bits_as_compute(bars: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "features.parquet"
    result = invoke("compute", bars, target, "--set", "wide32", "--by", "symbol")
    assert result.exit_code == 0, result.output
    expected = qf.compute(pq.read_table(bars), qf.FeatureSet.load("wide32"), by="symbol", time="open_time")
    written = pq.read_table(target)
    assert written.column_names == expected.column_names
    for name in written.column_names:
        assert written.column(name).combine_chunks().equals(expected.column(name).combine_chunks()), name
    assert [p.name for p in target.parent.iterdir()] == ["features.parquet"]


def test_fingerprint_is_in_the_parquet_metadata(bars: Path, tmp_path: Path) -> None:
    target = tmp_path / "f.parquet"
    assert invoke("compute", bars, target).exit_code == 0
    metadata = pq.read_schema(target).metadata or {}
    assert qf.FeatureSet.load("kline17").fingerprint.encode() in b" ".join(metadata.values())


def test_compute_from_csv_to_csv_with_own_features(bars: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "bars.csv", tmp_path / "f.csv"
    pa_csv.write_csv(pq.read_table(bars), source)
    result = invoke("compute", source, target, "-f", "rsi(14)", "-f", "trend = (close - ema(close,50)) / atr(14)")
    assert result.exit_code == 0, result.output
    written = pa_csv.read_csv(target)
    assert written.column_names == ["symbol", "open_time", "rsi", "trend"]
    assert written.num_rows == 2100
    assert written.column("rsi").null_count == 3 * 14


def test_compute_takes_other_column_names(bars: Path, tmp_path: Path) -> None:
    table = pq.read_table(bars)
    renamed = table.rename_columns([{"symbol": "asset", "open_time": "start"}.get(n, n) for n in table.column_names])
    source, target = tmp_path / "b.parquet", tmp_path / "f.parquet"
    pq.write_table(renamed, source)
    result = invoke("compute", source, target, "--by", "asset", "--time", "start")
    assert result.exit_code == 0, result.output
    assert pc.count_distinct(pq.read_table(target).column("symbol")).as_py() == 3


def test_bad_row_is_named_and_the_old_target_stays(bars: Path, tmp_path: Path) -> None:
    source = with_value(bars, tmp_path / "bad.parquet", "close", 900, -1.0)
    target = tmp_path / "f.parquet"
    target.write_text("old")
    result = invoke("compute", source, target)
    assert result.exit_code == 2
    assert re.search(r"close", result.output)
    assert re.search(r"\b900\b", result.output)
    assert target.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.parquet", "f.parquet"]
    assert invoke("compute", source, target, "--on-bad", "null").exit_code == 0
    with pytest.raises(BadBarError):
        qf.compute(pq.read_table(source), qf.FeatureSet.load("kline17"), by="symbol", time="open_time")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("{bars}", "{out}/f.xlsx"), "written to .parquet or .csv"),
        (("{out}/absent.parquet", "{out}/f.parquet"), "no such file"),
        (("{bars}", "{out}/f.parquet", "--set", "nope"), "nope"),
        (("{bars}", "{out}/f.parquet", "-f", "rsi(14"), "rsi(14"),
        (("{bars}", "{out}/f.parquet", "-f", "close + volume"), "close + volume"),
        (("{bars}", "{out}/f.parquet", "--numerics", "magic"), "magic"),
        (("{bars}", "{out}/f.parquet", "--on-bad", "ignore"), "ignore"),
    ],
)
def test_bad_input_is_exit_2_and_leaves_nothing(bars: Path, tmp_path: Path, args: tuple[str, ...], text: str) -> None:
    result = invoke("compute", *(arg.format(bars=bars, out=tmp_path) for arg in args))
    assert result.exit_code == 2, result.output
    assert text in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals work otherwise there")
@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.parquet", b"hello", "cannot be read"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"open_time,open,high,low,close,volume\n", "no rows"),
        ("a.csv", b"\0\0\0\0", "not text"),
        ("a.csv", b"symbol,open_time,open,high,low,close,volume\nA,noon,1,1,1,1,1\n", "'noon'"),
    ],
)
def test_a_damaged_file_is_exit_2_without_a_trace(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    result = invoke("compute", source, tmp_path / "out.parquet")
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == [source]


def test_features_do_not_take_the_place_of_their_bars(bars: Path, tmp_path: Path) -> None:
    source = tmp_path / "bars.parquet"
    source.write_bytes(bars.read_bytes())
    link = tmp_path / "link.parquet"
    link.symlink_to(source)
    for target in (source, link):
        result = invoke("compute", source, target)
        assert result.exit_code == 2
        assert "take the place" in result.output
    assert source.read_bytes() == bars.read_bytes()


def test_ctrl_c_before_there_is_a_command_leaves_no_trace() -> None:
    code = (
        "import sys, qtfeat.cli\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'qtfeat.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "qtfeat.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    source, folder = tmp_path / "bars.parquet", tmp_path / "out"
    pq.write_table(simulate(symbols=4, bars=200_000, seed=1), source)
    process = qtfeat("compute", source, folder / "f.parquet", "--set", "wide32")
    deadline = time.monotonic() + 60
    while not list(folder.glob(".f.parquet.*.part")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="needs wait4 for the peak memory of a child")
def test_memory_of_compute_is_flat(tmp_path: Path) -> None:
    table = simulate(symbols=1, bars=100_000, seed=2)
    small, large = tmp_path / "small.parquet", tmp_path / "large.parquet"
    pq.write_table(table, small)
    with pq.ParquetWriter(large, table.schema) as writer:
        for i in range(16):
            names = pa.array([f"S{i}"] * table.num_rows)
            writer.write_table(table.set_column(0, "symbol", names))
    peaks = []
    for source in (small, large):
        process = qtfeat("compute", source, tmp_path / "f.parquet", stdout=None, stderr=None)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2))
    # 16 times the bars; their features alone are over 200 MB
    assert pq.read_metadata(tmp_path / "f.parquet").num_rows == 1_600_000
    assert peaks[1] < peaks[0] + 64, peaks


# --- verify, inspect, plot, run ---


def test_verify_prints_what_it_compared(bars: Path) -> None:
    result = invoke("verify", bars, "--set", "kline17")
    assert result.exit_code == 0, result.output
    for promise in ("P1", "P2", "P3"):
        assert promise in result.output


def test_inspect(bars: Path, tmp_path: Path) -> None:
    assert "nothing found" in invoke("inspect", bars, "--strict").output
    bad = with_value(bars, tmp_path / "bad.parquet", "high", 10, 1e-9)
    result = invoke("inspect", bad)
    assert result.exit_code == 0
    assert "high < low" in result.output
    assert "bad.parquet, row 10" in result.output
    assert invoke("inspect", bad, "--strict").exit_code == 2


def test_plot(bars: Path, tmp_path: Path) -> None:
    symbol = read_bars(bars)[0].column("symbol")[0].as_py()
    png, page = tmp_path / "a.png", tmp_path / "a.html"
    assert invoke("plot", symbol, "--data", bars, "--out", png).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    assert invoke("plot", symbol, "--data", bars, "--out", page, "--bars", "60").exit_code == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "<svg" in text
    # self-contained: nothing is fetched
    assert not re.search(r'(?:src|href)="https?:|<script|<link|@import', text)
    result = invoke("plot", "NOPE", "--data", bars, "--out", png)
    assert result.exit_code == 2
    assert "no symbol 'NOPE'" in result.output
    assert invoke("plot", symbol, "--data", bars, "--out", tmp_path / "a.gif").exit_code == 2


def test_run_on_too_little_is_refused_with_reasons_and_kept(tmp_path: Path) -> None:
    models = tmp_path / "models"
    result = invoke("run", "--models", models, "--symbols", "3", "--bars", "1500", "--folds", "2", "--seed", "3")
    assert result.exit_code == 3, result.output
    assert "no market" in result.output
    assert "REJECTED" in result.output
    listed = json.loads(invoke("models", "list", "--models", models, "--json").output)
    assert [version["allowed"] for version in listed] == ["rejected"]
    files = {p.suffix for p in models.rglob("*") if p.is_file()}
    assert files >= {".json", ".ubj", ".txt"}
    assert not files & {".pkl", ".pickle", ".joblib"}


def test_run_refuses_what_is_not_bars(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    result = invoke("run", "--data", tmp_path / "x.csv", "--models", tmp_path / "models")
    assert result.exit_code == 2
    assert not (tmp_path / "models").exists()


def test_plot_of_a_flat_market(tmp_path: Path) -> None:
    n = 80
    flat = {name: np.full(n, 5.0) for name in ("open", "high", "low", "close", "volume")}
    path = tmp_path / "FLAT.parquet"
    pq.write_table(pa.table({"open_time": 1_700_000_000_000 + 60_000 * np.arange(n), **flat}), path)
    assert invoke("plot", "FLAT", "--data", path, "--out", tmp_path / "f.png").exit_code == 0
