"""Download from the archive's layout: what arrives is right or is not there, whatever the server does."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fetch_server import Fault, Server, Site, kline_zip, klines
from qtfeat.bars import fetch_archive, read_bars
from qtfeat.bars.archive import archive_path, check_names
from qtfeat.bars.calendar import parse_span
from qtfeat.bars.files import only_writer
from qtfeat.bars.http import Policy
from qtfeat.bars.simulate import simulate
from qtfeat.cli.app import app
from qtfeat.errors import QtfeatError, SchemaError
from sizes import SOAK

DATA = Path(os.environ.get("QTFEAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
HOUR = 3_600_000
TODAY = date(2025, 2, 10)
QUICK = Policy(timeout=0.4, attempts=4, backoff=0.01, longest_wait=2.0)
SYMBOLS = ("BTCUSDT", "ETHUSDT")


def site_of(symbols: tuple[str, ...] = SYMBOLS, market: str = "spot") -> tuple[Site, dict[str, pa.Table]]:
    """A server's files, fresh, and the bars in them."""
    contents, truth = made(symbols, market)
    return Site(dict(contents)), truth


@cache
def made(symbols: tuple[str, ...], market: str) -> tuple[dict[str, bytes], dict[str, pa.Table]]:
    """Hourly bars from 2024-11 to 2025-02-09: two monthly files, January and February by day; us from 2025 on."""
    site, truth = Site(), {}
    bars = (date(2025, 2, 10) - date(2024, 11, 1)).days * 24
    table = simulate(symbols=len(symbols), bars=bars, start="2024-11-01", seed=3)
    names = table.column("symbol").unique().to_pylist()
    for symbol, name in zip(symbols, names, strict=True):
        own = table.filter(pa.compute.equal(table.column("symbol"), name))
        truth[symbol] = own
        rows = klines(own, HOUR)
        days = np.asarray(own.column("open_time")).astype("datetime64[D]").astype(str)
        for period in sorted({day[:7] for day in days if day < "2025-01"} | {day for day in days if day >= "2025-01"}):
            part = [row for row, day in zip(rows, days, strict=True) if day.startswith(period)]
            path = archive_path(symbol, "1h", period, market)
            recent = period >= "2025"
            stem = path.rsplit("/", 1)[-1].removesuffix(".zip")
            site.add(path, kline_zip(part, stem, header=market != "spot", micros=recent))
    return site.files, truth


@pytest.fixture
def served() -> Iterator[tuple[Server, Site, dict[str, pa.Table]]]:
    site, truth = site_of()
    with Server(site) as server:
        yield server, site, truth


def fetch(server: Server, out: Path, first: str = "2024-11", last: str | None = None, **options: Any) -> Any:
    settings = {"base_url": server.url, "policy": QUICK, "today": TODAY, "workers": 2} | options
    return fetch_archive(out, settings.pop("symbols", SYMBOLS), "1h", first, last, **settings)


def files(folder: Path) -> dict[str, bytes]:
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    found.pop(".lock", None)
    return found


def same_bars(folder: Path, truth: dict[str, pa.Table], symbols: tuple[str, ...] = SYMBOLS) -> None:
    table, report = read_bars(folder)
    assert report.ok, str(report)
    for symbol in symbols:
        own = table.filter(pa.compute.equal(table.column("symbol"), symbol))
        assert own.drop_columns("symbol").equals(truth[symbol].drop_columns("symbol"))


def test_months_and_days_come_in_the_layout_of_the_archive(served: Any, tmp_path: Path) -> None:
    server, site, truth = served
    seen: list[tuple[int, int]] = []
    report = fetch(server, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.missing == []
    # 2 months + 31 days of a January that is not published as a month yet + 9 days of February, for two symbols
    assert len(report.fetched) == 2 * (2 + 31 + 9)
    assert files(tmp_path) == site.files
    same_bars(tmp_path, truth)
    assert report.bytes == sum(map(len, site.files.values()))
    assert seen == [(i + 1, 24) for i in range(24)]


def test_what_is_there_is_not_asked_for_again(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    fetch(server, tmp_path, "2024-11", "2024-12")
    before = files(tmp_path)
    site.log.clear()
    again = fetch(server, tmp_path, "2024-11", "2024-12")
    assert (again.fetched, len(again.kept), site.log) == ([], 4, [])
    # a damaged file, one without its hash, and one that is gone are fetched again
    paths = sorted(p for p in before if p.endswith(".zip"))
    (tmp_path / paths[0]).write_bytes(before[paths[0]][:-1])
    (tmp_path / f"{paths[1]}.CHECKSUM").unlink()
    (tmp_path / paths[2]).unlink()
    mended = fetch(server, tmp_path, "2024-11", "2024-12")
    assert mended.fetched == paths[:3]
    assert files(tmp_path) == before


@pytest.mark.parametrize("market", ["spot", "um", "cm"])
def test_markets_have_folders_of_their_own(tmp_path: Path, market: str) -> None:
    site, truth = site_of(("BTCUSDT",), market)
    with Server(site) as server:
        report = fetch(server, tmp_path, "2024-12", "2024-12", market=market, symbols=["btcusdt"])
    folder = {"spot": "spot", "um": "futures/um", "cm": "futures/cm"}[market]
    assert report.fetched == [f"data/{folder}/monthly/klines/BTCUSDT/1h/BTCUSDT-1h-2024-12.zip"]
    table, quality = read_bars(tmp_path)
    assert quality.ok
    wanted = truth["BTCUSDT"].slice(30 * 24, 31 * 24)
    assert table.drop_columns("symbol").equals(wanted.drop_columns("symbol"))


FAULTS = {
    "429 with a pause": [Fault(429, (("Retry-After", "1"),))],
    "418": [Fault(418, (("Retry-After", "0"),))],
    "500, 503": [Fault(500), Fault(503)],
    "truncated": [Fault(cut=0.4)],
    "truncated twice": [Fault(cut=0.4), Fault(cut=0.5)],
    "corrupt": [Fault(flip=True)],
    "stall": [Fault(stall=1.0)],
    "reset": [Fault(reset=True)],
    "drip": [Fault(drip=0.05)],
    "many": [Fault(500), Fault(cut=0.3), Fault(reset=True)],
}


@pytest.mark.parametrize(
    ("name", "etag"), [*((name, True) for name in FAULTS), *((name, False) for name in ("truncated", "many"))]
)
def test_faults_are_survived(tmp_path: Path, name: str, etag: bool) -> None:
    site, _ = site_of(("BTCUSDT",))
    path = archive_path("BTCUSDT", "1h", "2024-12", "spot")
    site.etag = etag
    site.faults[path] = list(FAULTS[name])
    with Server(site) as server:
        report = fetch(server, tmp_path, "2024-12", "2024-12", symbols=["BTCUSDT"])
    assert report.ok, str(report)
    assert files(tmp_path) == {p: site.files[p] for p in (path, f"{path}.CHECKSUM")}
    tries = [entry for entry in site.log if entry[1] == path]
    assert len(tries) == len(FAULTS[name]) + 1
    assert not site.faults[path]
    resumed = [wanted for _, _, wanted in tries if wanted]
    if name == "429 with a pause":
        assert tries[1][0] - tries[0][0] >= 1.0
    if name.startswith("truncated"):
        size = len(site.files[path])
        assert resumed[:1] == ([f"bytes={int(size * 0.4)}-"] if etag else [])


def test_a_pause_holds_for_every_thread(tmp_path: Path) -> None:
    site, _ = site_of()
    first = archive_path("BTCUSDT", "1h", "2024-11", "spot")
    site.faults[f"{first}.CHECKSUM"] = [Fault(429, (("Retry-After", "1"),))]
    site.delay = 0.02
    with Server(site) as server:
        fetch(server, tmp_path, "2024-11", "2024-12", workers=2)
    refused = next(at for at, path, _ in site.log if path == f"{first}.CHECKSUM")
    # requests that were under way when the refusal came are over within moments
    assert not [path for at, path, _ in site.log if refused + 0.3 < at < refused + 0.95]


BROKEN = {
    "wrong checksum": ([Fault(flip=True)] * 9, r"the SHA-256 is [0-9a-f]{64}, the archive's checksum says", 3),
    "500 for good": ([Fault(500)] * 9, r"the server failed \(HTTP 500\), in each of 4 tries", 4),
    "never whole": ([Fault(cut=0.1)] * 9, r"the body broke off after [\d,]+ of [\d,]+ bytes, in each of 4 tries", 4),
    "stalled for good": ([Fault(stall=0.8)] * 9, r"no data for 0.4 s, in each of 4 tries", 4),
    "forbidden": ([Fault(403)] * 9, "HTTP 403, the server refuses", 1),
    "too long a pause": ([Fault(429, (("Retry-After", "900"),))] * 9, "asks for a pause of 900 s", 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_cannot_be_had_is_named_and_leaves_nothing(served: Any, tmp_path: Path, name: str) -> None:
    server, site, _ = served
    site.etag = False
    faults, reason, tries = BROKEN[name]
    path = archive_path("BTCUSDT", "1h", "2024-12", "spot")
    site.faults[path] = list(faults)
    report = fetch(server, tmp_path, "2024-11", "2024-12")
    ((failed, text),) = report.failed
    assert failed == path
    assert re.search(reason, text), text
    assert len(faults) - len(site.faults[path]) == tries
    # the others came
    assert len(report.fetched) == 3
    assert set(files(tmp_path)) == {p for f in report.fetched for p in (f, f"{f}.CHECKSUM")}


def test_a_checksum_that_is_none_is_refused(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    path = archive_path("BTCUSDT", "1h", "2024-12", "spot")
    site.files[f"{path}.CHECKSUM"] = b"<html>hello</html>"
    report = fetch(server, tmp_path, "2024-12", "2024-12", symbols=["BTCUSDT"])
    assert "no SHA-256 in b'<html>hello" in report.failed[0][1]
    assert files(tmp_path) == {}


def test_a_file_published_anew_between_hash_and_body_is_taken(tmp_path: Path) -> None:
    site, _ = site_of(("BTCUSDT",))
    path = archive_path("BTCUSDT", "1h", "2024-12", "spot")
    site.faults[f"{path}.CHECKSUM"] = [Fault(flip=True)]
    with Server(site) as server:
        report = fetch(server, tmp_path, "2024-12", "2024-12", symbols=["BTCUSDT"])
    assert report.fetched == [path]


def test_what_the_archive_lacks_is_reported_not_failed(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    report = fetch(server, tmp_path, "2024-09", "2024-11", symbols=["BTCUSDT"])
    assert report.ok
    assert report.missing == [archive_path("BTCUSDT", "1h", f"2024-{month}", "spot") for month in ("09", "10")]
    # an old month is not asked for day by day
    assert not [path for path in site.asked if "/daily/" in path]
    gone = fetch(server, tmp_path, "2024-12", None, symbols=["NOPE"])
    assert not gone.fetched
    # two recent months, once each though they were asked for by day too, and nine days
    assert len(gone.missing) == 2 + 9
    assert sum("/daily/" in path for path in site.asked) == 31 + 31 + 9


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    report = fetch_archive(
        *(tmp_path, ["BTCUSDT"], "1h", "2024-12", "2024-12"), base_url="http://127.0.0.1:9", policy=QUICK, today=TODAY
    )
    assert "the connection failed" in report.failed[0][1]


SETTINGS = {
    "name at least one symbol": {"symbols": []},
    "is no symbol": {"symbols": ["../etc"]},
    "interval must be one of": {"interval": "7m"},
    "market must be one of": {"market": "nyse"},
    "from must be a month or a day": {"first": "2024"},
    "no day of the calendar": {"first": "2024-13"},
    "the end is before the start": {"first": "2024-12", "last": "2024-11"},
    "the newest day there can be is 2025-02-09": {"first": "2025-03", "last": "2025-04"},
    "workers must be 1..32": {"workers": 0},
    "only http and https": {"base_url": "file:///etc"},
}


@pytest.mark.parametrize("text", SETTINGS)
def test_settings_outside_their_range(tmp_path: Path, text: str) -> None:
    given = {"symbols": ["BTCUSDT"], "interval": "1h", "first": "2024-12", "last": "2024-12"} | SETTINGS[text]
    out = tmp_path / "out"
    positional = [given.pop(name) for name in ("symbols", "interval", "first", "last")]
    with pytest.raises(SchemaError, match=text):
        fetch_archive(out, *positional, today=TODAY, policy=QUICK, **given)
    assert not out.exists() or files(out) == {}


def test_one_download_at_a_time_writes_to_a_folder(served: Any, tmp_path: Path) -> None:
    with only_writer(tmp_path, "download"), pytest.raises(QtfeatError, match="another download writes here"):
        fetch(served[0], tmp_path)
    assert fetch(served[0], tmp_path, "2024-12", "2024-12").ok


def test_spans_and_names() -> None:
    newest = date(2025, 2, 9)
    assert list(parse_span("2024-11", "2024-12", newest).periods()) == ["2024-11", "2024-12"]
    assert list(parse_span("2024-12-30", "2025-01", newest).periods()) == ["2024-12-30", "2024-12-31", "2025-01"]
    assert list(parse_span("2025-02", None, newest).periods()) == [f"2025-02-0{day}" for day in range(1, 10)]
    assert list(parse_span("2024-02", "2024-02-29", newest).periods()) == ["2024-02"]
    assert check_names([" btcusdt", "BTCUSDT", "1000SHIBUSDT"], "1h", "um") == ["BTCUSDT", "1000SHIBUSDT"]


@pytest.mark.skipif(not (DATA / "vision_raw").is_dir(), reason=f"no recorded market data at {DATA} (set QTFEAT_DATA)")
def test_recorded_files_arrive_as_one_series_of_ms_and_us(tmp_path: Path) -> None:
    site = Site()
    for period in ("2024-12", "2025-01"):
        data = (DATA / "vision_raw" / f"BTCUSDT-1h-{period}.zip").read_bytes()
        site.add(archive_path("BTCUSDT", "1h", period, "spot"), data)
    with Server(site) as server:
        assert fetch(server, tmp_path, "2024-12", "2025-01", symbols=["BTCUSDT"]).ok
    table, report = read_bars(tmp_path)
    assert report.ok, str(report)
    times = np.asarray(table.column("open_time").cast(pa.int64()))
    assert len(times) == 2 * 744
    assert set(np.diff(times)) == {HOUR}


# --- the command, Ctrl-C and kill -9


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, ["fetch", "binance", *map(str, args)], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_command(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    base = ("--interval", "1h", "--from", "2024-11", "--to", "2024-12", "--base-url", server.url, "--out", tmp_path)
    done = invoke("--symbols", "BTCUSDT,ETHUSDT", *base)
    assert done.exit_code == 0, done.output
    assert "4 file(s) fetched" in done.output
    assert set(files(tmp_path)) == {p for p in site.files if "2024-1" in p}
    path = archive_path("BTCUSDT", "1h", "2024-12", "spot")
    (tmp_path / path).unlink()
    site.faults[path] = [Fault(403)]
    partly = invoke("-s", "BTCUSDT", "-s", "ETHUSDT", *base)
    assert partly.exit_code == 4
    assert f"failed: {path}" in partly.output
    nothing = invoke("-s", "NOPE", *base)
    assert nothing.exit_code == 2
    assert "nothing was found for NOPE" in nothing.output
    assert invoke("-s", "BTCUSDT", *base, "--timeout", "0").exit_code == 2
    assert invoke("-s", "BTCUSDT", *base, "--timeout", "nan").exit_code == 2
    assert invoke("-s", "BTCUSDT", *base, "--source", "ftp").exit_code == 2


def process(server: Server, out: Path) -> subprocess.Popen[str]:
    args = ["fetch", "binance", "-s", ",".join(SYMBOLS), "--from", "2024-11", "--to", "2025-02-09", "-o", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", "from qtfeat.cli import main; main()", *args, "--base-url", server.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def only_whole_files(site: Site, out: Path) -> int:
    """Every zip under its name is what the server has; nothing else but parts that the next run removes."""
    whole = 0
    for path, data in files(out).items():
        if not path.endswith(".part"):
            assert data == site.files[path], path
            whole += 1
    return whole


@pytest.mark.skipif(sys.platform == "win32", reason="signals work otherwise there")
def test_ctrl_c_stops_at_once_and_leaves_whole_files(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    site.delay = 0.05
    stalled = archive_path("ETHUSDT", "1h", "2024-12", "spot")
    site.faults[stalled] = [Fault(stall=20.0)]
    running = process(server, tmp_path)
    deadline = time.monotonic() + 60
    while not any(path == stalled for _, path, _ in list(site.log)) or len(files(tmp_path)) < 4:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    pressed = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, text = running.communicate(timeout=30)
    assert running.returncode == 130
    assert time.monotonic() - pressed < 5
    assert "Traceback" not in text
    assert only_whole_files(site, tmp_path) >= 4
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.soak
@pytest.mark.skipif(sys.platform == "win32", reason="signals work otherwise there")
def test_kill_anywhere_then_again_is_byte_identical(served: Any, tmp_path: Path) -> None:
    server, site, _ = served
    site.delay = 0.01
    moments = np.random.default_rng(0).uniform(0, 1, 50 if SOAK else 3)
    for moment in moments:
        running = process(server, tmp_path)
        start = len(site.log)
        while len(site.log) == start and running.poll() is None:
            time.sleep(0.002)
        time.sleep(moment)
        running.kill()
        running.communicate()
        only_whole_files(site, tmp_path)
    # the archive of the test ends on a fixed day: take the days that exist
    report = fetch(server, tmp_path)
    assert report.ok
    assert files(tmp_path) == site.files
    digests = {hashlib.sha256(data).hexdigest() for path, data in site.files.items() if path.endswith(".zip")}
    assert len(digests) == len(report.kept) + len(report.fetched)
