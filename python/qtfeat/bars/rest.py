"""Recent klines of Binance over its REST API, page by page, closed bars only."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa

from qtfeat.bars.archive import check_names
from qtfeat.bars.http import Client, Policy, Reply
from qtfeat.bars.schema import BAR_SCHEMA, KLINE_COLUMNS, KLINE_SCHEMA
from qtfeat.bars.times import TimeReader
from qtfeat.errors import FetchError, SchemaError

# A reply may have been put together shortly before the time it carries: a bar counts as closed this much later.
_SETTLE_MS = 1_000
# Of the weight that an address may use per minute; the rest is left to others behind the same address.
_SHARE_OF_WEIGHT = 0.8
_FIRST_NOT_MS = 10**14


@dataclass(frozen=True, slots=True)
class _Market:
    url: str
    path: str
    page: int
    weight_per_minute: int


_MARKETS = {
    "spot": _Market("https://api.binance.com", "/api/v3/klines", 1_000, 6_000),
    "um": _Market("https://fapi.binance.com", "/fapi/v1/klines", 1_500, 2_400),
    "cm": _Market("https://dapi.binance.com", "/dapi/v1/klines", 1_500, 2_400),
}


def recent_klines(
    symbols: str | Iterable[str],
    interval: str,
    bars: int = 1_000,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    market: str = "spot",
    base_url: str | None = None,
    kline_columns: bool = False,
    policy: Policy | None = None,
    client: Client | None = None,
) -> pa.Table:
    """Get the latest closed bars of some symbols.

    The last bar is left out unless it has closed by the server's clock. A rate limit is obeyed before it is hit: near
    the allowed weight the next request waits for the next minute.

    Args:
        symbols: one symbol or several.
        interval: such as `"1m"`, `"1h"`, `"1d"`, `"1mo"`.
        bars: how many per symbol, at least 1; ignored when `since` is given.
        since: instead of a number: the first open time, taken as UTC when it has no zone.
        until: no bar opens at or after this time.
        market: `"spot"`, `"um"` (USD-M futures) or `"cm"` (coin-M futures).
        base_url: another server with the same API.
        kline_columns: also the other columns of a kline, typed (`close_time`, `quote_volume`, `count`, ...).
        policy: time limits and retries.
        client: use this one, to share its pauses with other calls; then `policy` is its own.

    Returns:
        Bars sorted by symbol and time: symbol, open_time (timestamp[ms, UTC]), open, high, low, close, volume
        (float64). A symbol without a closed bar has no rows.

    Raises:
        SchemaError: a setting outside its range.
        FetchError: the server failed, refused, or answered something else.
    """
    names = check_names([symbols] if isinstance(symbols, str) else symbols, interval, market)
    if bars < 1:
        raise SchemaError(f"bars must be at least 1, got {bars}")
    source = _Source(client or Client(policy), _MARKETS[market], base_url, interval)
    parts = []
    for name in sorted(names):
        if since is None:
            rows = source.latest(name, bars, _millis(until))
        else:
            rows = [row for page in source.forward(name, _millis(since) or 0, _millis(until)) for row in page]
        parts.append(_table(name, rows, source.where(name)))
    table = pa.concat_tables(parts)
    return table if kline_columns else table.select(BAR_SCHEMA.names)


def _millis(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    zoned = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return round(zoned.timestamp() * 1_000)


class _Source:
    """One server, market and interval."""

    def __init__(self, client: Client, market: _Market, base_url: str | None, interval: str) -> None:
        self._client = client
        self._market = market
        self._url = (base_url or market.url).rstrip("/") + market.path
        self._interval = interval.replace("1mo", "1M")

    def where(self, symbol: str) -> str:
        """What errors call the answers for a symbol."""
        return f"{self._url}?symbol={symbol}"

    def latest(self, symbol: str, bars: int, until: int | None) -> list[list[Any]]:
        """The last `bars` closed klines, by pages that go back in time."""
        rows: list[list[Any]] = []
        end = None if until is None else until - 1
        while len(rows) < bars:
            # One more than is wanted: the newest is mostly not closed yet.
            limit = min(self._market.page, bars - len(rows) + (not rows))
            page, closed = self._page(symbol, limit, {"endTime": end})
            rows = closed + rows
            if len(page) < limit:
                break
            end = int(page[0][0]) - 1
        return rows[-bars:]

    def forward(self, symbol: str, start: int, until: int | None) -> Iterator[list[list[Any]]]:
        """All closed klines from a time on, page by page."""
        end = None if until is None else until - 1
        while end is None or start <= end:
            page, closed = self._page(symbol, self._market.page, {"startTime": start, "endTime": end})
            yield closed
            if len(page) < self._market.page:
                return
            start = int(page[-1][0]) + 1

    def _page(self, symbol: str, limit: int, times: dict[str, int | None]) -> tuple[list[list[Any]], list[list[Any]]]:
        """Return (all klines of a page, those that have closed)."""
        query = {"symbol": symbol, "interval": self._interval, "limit": limit}
        query |= {name: value for name, value in times.items() if value is not None}
        reply = self._client.get(f"{self._url}?{urlencode(query)}")
        now = reply.time() or time.time()
        self._heed_weight(reply, now)
        page = _klines(reply.body, self.where(symbol))
        return page, [row for row in page if int(row[6]) + _SETTLE_MS <= now * 1_000]

    def _heed_weight(self, reply: Reply, now: float) -> None:
        used = reply.headers.get("x-mbx-used-weight-1m", "")
        if used.isdigit() and int(used) >= _SHARE_OF_WEIGHT * self._market.weight_per_minute:
            self._client.pause(60.0 - now % 60.0 + 1.0)


def _klines(body: bytes, where: str) -> list[list[Any]]:
    """Parse and check a page: rows of 12, open times increasing."""
    try:
        page = json.loads(body)
    except ValueError as error:
        raise FetchError(f"{where}: not JSON: {body[:80]!r}; is the base URL right?", url=where) from error
    sound = isinstance(page, list) and all(
        isinstance(row, list)
        and len(row) == len(KLINE_COLUMNS)
        and isinstance(row[0], int)
        and isinstance(row[6], int)
        and row[0] < _FIRST_NOT_MS
        for row in page
    )
    if not sound or any(a[0] >= b[0] for a, b in itertools.pairwise(page)):
        raise FetchError(f"{where}: not a list of klines in order of time: {body[:80]!r}", url=where)
    return list(page)


def _table(symbol: str, rows: Sequence[Sequence[Any]], where: str) -> pa.Table:
    columns: dict[str, pa.Array] = {"symbol": pa.array([symbol] * len(rows), pa.string())}
    for position, name in enumerate(KLINE_COLUMNS):
        kind = KLINE_SCHEMA.field(name).type
        values = [row[position] for row in rows]
        try:
            if pa.types.is_timestamp(kind):
                millis, _ = TimeReader(where).read(pa.array(values, pa.int64()), name, 0)
                columns[name] = pa.array(millis).cast(kind)
            elif pa.types.is_integer(kind):
                columns[name] = pa.array(np.array(values, dtype=np.int64))
            else:
                columns[name] = pa.array(np.array(values, dtype=np.float64))
        except (TypeError, ValueError, OverflowError) as error:
            raise FetchError(f"{where}: column {name!r} holds no numbers ({error})", url=where) from error
    return pa.table(columns, schema=KLINE_SCHEMA)
