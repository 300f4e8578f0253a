"""Klines from the public archive of Binance: files by month and day, each checked against its published hash."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from qtfeat.bars.calendar import days, month_end, parse_span
from qtfeat.bars.fetch_report import FetchReport
from qtfeat.bars.files import only_writer, remove_parts, write_whole
from qtfeat.bars.http import Client, Policy
from qtfeat.bars.workers import Progress, run_items
from qtfeat.errors import FetchError, SchemaError

ARCHIVE_URL = "https://data.binance.vision"
MARKETS = {"spot": "spot", "um": "futures/um", "cm": "futures/cm"}
INTERVALS = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1mo")
# The file of a month is published some days into the next one; until then its days are there.
_MONTH_MAY_BE_LATE = timedelta(days=45)
_HASH_TRIES = 3


def check_names(symbols: Iterable[str], interval: str, market: str) -> list[str]:
    """Return the symbols in capitals, each once; they become parts of paths and URLs.

    Raises:
        SchemaError: no symbol, or a symbol, interval or market that the exchange cannot have.
    """
    names = list(dict.fromkeys(symbol.strip().upper() for symbol in symbols))
    if not names:
        raise SchemaError("name at least one symbol, such as BTCUSDT")
    for name in names:
        if not re.fullmatch(r"\w+", name):
            raise SchemaError(f"{name!r} is no symbol; they are spelt like BTCUSDT")
    if market not in MARKETS:
        raise SchemaError(f"market must be one of {', '.join(MARKETS)}; got {market!r}")
    if interval not in INTERVALS:
        raise SchemaError(f"interval must be one of {', '.join(INTERVALS)}; got {interval!r}")
    return names


def archive_path(symbol: str, interval: str, period: str, market: str) -> str:
    """Return the archive's path of a month (`2023-01`) or day (`2023-01-15`)."""
    kind = "monthly" if len(period) == len("2023-01") else "daily"
    return f"data/{MARKETS[market]}/{kind}/klines/{symbol}/{interval}/{symbol}-{interval}-{period}.zip"


def fetch_archive(
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
    """Download klines from the archive into a folder of the same layout.

    Whole months come as monthly files, other days as daily ones; a recent month whose file is not published yet comes
    as days. Each file is compared with the archive's SHA-256 before it appears under its name, with that hash beside it
    (`.CHECKSUM`). Files that are there with the right hash are not asked for again, so a broken-off download is
    continued by the same call.

    Args:
        out: folder; made if it is not there. One download at a time may write to it.
        symbols: such as `["BTCUSDT", "ETHUSDT"]`.
        interval: of the archive: 1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1mo.
        first: month or day, `"2023-01"` or `"2023-01-15"`.
        last: month or day, included; default yesterday (UTC).
        market: `"spot"`, `"um"` (USD-M futures) or `"cm"` (coin-M futures).
        base_url: a mirror; default the archive itself.
        workers: files at the same time, 1..32.
        policy: time limits and retries.
        progress: called with (months and days done, all of them) in the calling thread.
        today: the day in UTC, for tests.

    Returns:
        What was fetched, kept, missing and failed; a file that fails does not stop the others.

    Raises:
        SchemaError: a setting outside its range.
        QtfeatError: another download writes to the folder.
    """
    names = check_names(symbols, interval, market)
    if not 1 <= workers <= 32:
        raise SchemaError(f"workers must be 1..32, got {workers}")
    today = today or datetime.now(UTC).date()
    periods = list(parse_span(first, last, today - timedelta(days=1)).periods())
    job = _Job(Path(out), (base_url or ARCHIVE_URL).rstrip("/"), interval, market, today, policy)
    with only_writer(job.out, "download"):
        remove_parts(job.out)
        job.run([(name, period) for period in periods for name in names], workers, progress)
    return job.report


class _Job:
    """One call of `fetch_archive`: its settings, its client and what became of each file."""

    def __init__(
        self, out: Path, base_url: str, interval: str, market: str, today: date, policy: Policy | None
    ) -> None:
        self.out = out
        self.report = FetchReport()
        self._base_url = base_url
        self._interval = interval
        self._market = market
        self._today = today
        self._lock = threading.Lock()
        self._client = Client(policy, self._count)

    def run(self, items: Sequence[tuple[str, str]], workers: int, progress: Progress | None) -> None:
        """Fetch all (symbol, period) items in threads."""
        began = time.monotonic()
        run_items(items, self._period, workers, stop=self._client.stop, progress=progress)
        self.report.retries = self._client.retries
        self.report.seconds = time.monotonic() - began
        self.report.sort()

    def _period(self, item: tuple[str, str]) -> None:
        symbol, period = item
        path = archive_path(symbol, self._interval, period, self._market)
        if not self._file(path) and not self._days_of(symbol, period):
            self.report.missing.append(path)

    def _days_of(self, symbol: str, month: str) -> bool:
        """Fetch the days of a month that may not be published as a whole yet; False if there are none."""
        if len(month) != len("2023-01"):
            return False
        start = date.fromisoformat(f"{month}-01")
        end = month_end(start)
        if self._today - end >= _MONTH_MAY_BE_LATE:
            return False
        paths = [archive_path(symbol, self._interval, day, self._market) for day in days(start, end)]
        missing = [path for path in paths if not self._file(path)]
        if len(missing) < len(paths):
            self.report.missing += missing
        return len(missing) < len(paths)

    def _file(self, path: str) -> bool:
        """Have one file in place, or its failure noted; False if the archive does not have it."""
        target = self.out / path
        if _is_whole(target):
            self.report.kept.append(path)
            return True
        try:
            data, checksum = self._verified(path)
        except FetchError as error:
            if error.status == 404:
                return False
            self.report.failed.append((path, str(error)))
            return True
        # The hash last: what has one is whole.
        write_whole(target, data)
        write_whole(_checksum_file(target), checksum)
        self.report.fetched.append(path)
        return True

    def _verified(self, path: str) -> tuple[bytes, bytes]:
        url = f"{self._base_url}/{quote(path)}"
        wanted = found = ""
        for _ in range(_HASH_TRIES):
            checksum = self._client.get(f"{url}.CHECKSUM").body
            wanted = parse_checksum(checksum)
            if not wanted:
                raise FetchError(f"{url}.CHECKSUM: no SHA-256 in {checksum[:80]!r}", url=f"{url}.CHECKSUM")
            data = self._client.get(url).body
            found = hashlib.sha256(data).hexdigest()
            if found == wanted:
                return data, checksum
        text = f"{url}: the SHA-256 is {found}, the archive's checksum says {wanted}, {_HASH_TRIES} times"
        raise FetchError(f"{text}; the file was not kept", url=url)

    def _count(self, size: int) -> None:
        with self._lock:
            self.report.bytes += size


def parse_checksum(text: bytes) -> str:
    """Return the SHA-256 in a checksum file (`<hash>  <name>`), in lower case; empty if there is none."""
    match = re.match(rb"\s*([0-9a-fA-F]{64})\b", text)
    return match[1].decode().lower() if match else ""


def _checksum_file(target: Path) -> Path:
    return target.with_name(f"{target.name}.CHECKSUM")


def _is_whole(target: Path) -> bool:
    """Whether a file is there and is what the checksum beside it says."""
    try:
        wanted = parse_checksum(_checksum_file(target).read_bytes())
        with target.open("rb") as file:
            return bool(wanted) and hashlib.file_digest(file, "sha256").hexdigest() == wanted
    except OSError:
        return False
