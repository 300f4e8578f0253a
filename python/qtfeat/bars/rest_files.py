"""Recent klines into files: one Parquet file per symbol and month, continued where it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qtfeat.bars.archive import MARKETS, check_names
from qtfeat.bars.calendar import Span, month_end, parse_span
from qtfeat.bars.fetch_report import FetchReport
from qtfeat.bars.files import only_writer, remove_parts, whole_or_nothing
from qtfeat.bars.http import Client, Policy
from qtfeat.bars.rest import recent_klines
from qtfeat.bars.schema import KLINE_SCHEMA
from qtfeat.bars.workers import Progress, run_items
from qtfeat.errors import FetchError, SchemaError


def fetch_recent(
    out: str | Path,
    symbols: Iterable[str],
    interval: str,
    first: str,
    last: str | None = None,
    *,
    market: str = "spot",
    base_url: str | None = None,
    workers: int = 4,
    policy: Policy | None = None,
    progress: Progress | None = None,
    today: date | None = None,
) -> FetchReport:
    """Download klines over the REST API into `data/<market>/rest/klines/<symbol>/<interval>/<...>-YYYY-MM.parquet`.

    For days that the archive does not have yet. Only closed bars are written. A file that is there is continued after
    its last bar; a call that finds nothing new changes no byte.

    Args and errors as for `fetch_archive`; `base_url` defaults to the exchange's own server, `last` to today.
    """
    names = check_names(symbols, interval, market)
    if not 1 <= workers <= 32:
        raise SchemaError(f"workers must be 1..32, got {workers}")
    span = parse_span(first, last, today or datetime.now(UTC).date())
    folder = Path(out)
    job = _Job(folder, interval, market, base_url, policy)
    began = time.monotonic()
    with only_writer(folder, "download"):
        remove_parts(folder)
        items = [(name, month) for month in _months(span) for name in names]
        run_items(items, job.month, workers, stop=job.client.stop, progress=progress)
    job.report.retries = job.client.retries
    job.report.seconds = time.monotonic() - began
    job.report.sort()
    return job.report


def _months(span: Span) -> list[Span]:
    months = []
    day = span.first
    while day <= span.last:
        end = min(month_end(day), span.last)
        months.append(Span(day, end))
        day = end + timedelta(days=1)
    return months


class _Job:
    def __init__(self, out: Path, interval: str, market: str, base_url: str | None, policy: Policy | None) -> None:
        self.report = FetchReport()
        self.client = Client(policy, self._count)
        self._lock = threading.Lock()
        self._out = out
        self._interval = interval
        self._market = market
        self._base_url = base_url

    def month(self, item: tuple[str, Span]) -> None:
        """Bring the file of one symbol and month up to date."""
        symbol, span = item
        folder = f"data/{MARKETS[self._market]}/rest/klines/{symbol}/{self._interval}"
        path = f"{folder}/{symbol}-{self._interval}-{span.first:%Y-%m}.parquet"
        target = self._out / path
        start, end = _midnight(span.first), _midnight(span.last + timedelta(days=1))
        try:
            there = pq.read_table(target, schema=KLINE_SCHEMA) if target.exists() else KLINE_SCHEMA.empty_table()
            since = _continue_at(there, start)
            new = recent_klines(
                symbol,
                self._interval,
                since=since,
                until=end,
                market=self._market,
                base_url=self._base_url,
                kline_columns=True,
                client=self.client,
            )
        except (FetchError, pa.ArrowInvalid, OSError) as error:
            self.report.failed.append((path, str(error)))
            return
        self._write(path, there, new)

    def _write(self, path: str, there: pa.Table, new: pa.Table) -> None:
        known = pc.is_in(new.column("open_time"), value_set=there.column("open_time").combine_chunks())
        new = new.filter(pc.invert(known))
        if not new.num_rows:
            (self.report.kept if there.num_rows else self.report.missing).append(path)
            return
        with whole_or_nothing(self._out / path) as part:
            pq.write_table(pa.concat_tables([there, new]).sort_by("open_time"), part, compression="zstd")
        self.report.fetched.append(path)

    def _count(self, size: int) -> None:
        with self._lock:
            self.report.bytes += size


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _continue_at(there: pa.Table, start: datetime) -> datetime:
    """After the last bar of a file that reaches back far enough, else from the start."""
    if not there.num_rows:
        return start
    times = pc.min_max(there.column("open_time")).as_py()
    return times["max"] + timedelta(milliseconds=1) if times["min"] <= start < times["max"] else start
