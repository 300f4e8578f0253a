"""P1, the modes that take tables and windows: each must give the reference's bits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from qtfeat.features import compute_batches, thread_count, windows, windows_at
from qtfeat.proof.market import SYMBOL, TIME, Floats, Ints, Market, head, matrix
from qtfeat.proof.report import Promise
from qtfeat.proof.subject import Subject

SIZES = (1, 2, 3, 5, 7, 13, 100)
_SMALL_BATCHES = 150
_SYMBOLS_ALONE = 64


def tables(subject: Subject, promise: Promise, threads: int | None) -> None:
    """Threads, the order of the rows, one symbol alone."""
    market, fs, n = subject.market, subject.fs, len(subject.market)
    many = max(thread_count(threads), 2)
    if len(market.symbols) > 1:
        found = matrix(market.table(), fs, n, threads=many, **market.keys())
        subject.equal(promise, f"{many} threads", found)
        order = np.argsort(market.rank(), kind="stable")
        found = matrix(market.table(order), fs, n, threads=many, **market.keys())
        subject.equal(promise, "the symbols' rows interleaved", found, order)
    else:
        promise.notes.append("one symbol: threads share out symbols, so one thread runs whatever is asked")
    for s in subject.rng.permutation(len(market.symbols))[:_SYMBOLS_ALONE]:
        span = market.span(s)
        found = matrix(market.table(span), fs, span.stop - span.start, **market.keys(by=False))
        subject.equal(promise, "a symbol alone", found, span)


def arrow(subject: Subject, promise: Promise) -> None:
    """An Arrow table in pieces, and record batches of many sizes."""
    market, fs = subject.market, subject.fs
    order = np.argsort(market.rank(), kind="stable")
    table = _arrow_table(market, order)
    n = len(market)
    cuts = np.unique(subject.rng.integers(0, n + 1, size=40))
    pieces = _pieces(table, cuts)
    subject.equal(promise, "an Arrow table in pieces", matrix(pieces, fs, n, **_arrow_keys(market)), order)
    for size in (*SIZES, n):
        found = _batched(subject, table, size)
        name = "one record batch" if size == n else f"record batches of {size}"
        subject.equal(promise, name, found, order)


def _arrow_table(market: Market, order: Ints) -> Any:
    import pyarrow as pa

    table = market.table(order)
    table[SYMBOL] = pa.array(table[SYMBOL].astype(str))
    if TIME in table:
        table[TIME] = pa.array(table[TIME], type=pa.timestamp("ns"))
    return pa.table(table)


def _arrow_keys(market: Market) -> dict[str, Any]:
    return market.keys() | {"time_unit": None}


def _pieces(table: Any, cuts: Ints) -> Any:
    import pyarrow as pa

    edges = [0, *map(int, cuts), table.num_rows]
    return pa.concat_tables([table.slice(a, b - a) for a, b in pairwise(edges)])


def _batched(subject: Subject, table: Any, size: int) -> Floats:
    """Features by compute_batches: many batches of `size` rows somewhere, the rest in two large ones."""
    import pyarrow as pa

    n = table.num_rows
    count = min(_SMALL_BATCHES, n // size)
    start = int(subject.rng.integers(0, n - count * size + 1))
    edges = [0, *range(start, start + count * size + 1, size), n]

    def batches() -> Iterator[Any]:
        for a, b in pairwise(edges):
            if b > a:
                yield from table.slice(a, b - a).combine_chunks().to_batches()

    done = pa.Table.from_batches(compute_batches(batches(), subject.fs, **_arrow_keys(subject.market)))
    return np.stack([done.column(name).to_numpy() for name in subject.fs.columns])


def in_windows(subject: Subject, promise: Promise, most: int) -> None:
    """Windows from the start of a series (all features), and windows of the memory (finite ones)."""
    market, fs = subject.market, subject.fs
    chosen = subject.rng.permutation(len(market.symbols))[:16]
    finite = [(k, int(row["finite_rows"])) for k, row in enumerate(fs.describe()) if row["finite_rows"] is not None]
    length = max((rows for _, rows in finite), default=0)
    columns = [k for k, _ in finite]
    compared = 0
    for s in chosen:
        span = market.span(s)
        _from_start(subject, promise, span)
        rows = span.stop - span.start
        if not finite or rows < length:
            continue
        ends = np.unique(subject.rng.integers(length - 1, rows, size=max(most // len(chosen), 1)))
        found = window_rows(market, fs, span, ends, length)
        subject.equal(
            promise, f"windows of {length} rows (finite features)", found[columns], span.start + ends, columns
        )
        compared += len(ends)
    if not compared:
        why = "no feature has finite memory" if not finite else f"no symbol has {length} rows"
        promise.notes.append(f"no windows of the memory compared: {why}")


def _from_start(subject: Subject, promise: Promise, span: slice) -> None:
    market, fs = subject.market, subject.fs
    rows = slice(span.start, min(span.stop, span.start + 300))
    extra = market.extra_values(fs)
    found = windows(
        market.ohlcv()[rows][None],
        fs,
        time=None if market.times is None else market.times[rows][None],
        extra=None if extra is None else extra[rows][None],
        last="all",
        time_unit="ns",
        threads=1,
        **market.policy.options(),
    )[0]
    subject.equal(promise, "windows from the start of a series", np.ascontiguousarray(found.T), rows)


def window_rows(market: Market, fs: Any, span: slice, ends: Ints, length: int) -> Floats:
    """(F, windows): features of the last rows of windows of one symbol."""
    bars = dict(zip(("open", "high", "low", "close", "volume"), market.ohlcv()[span].T, strict=True))
    bars |= {name: market.columns[name][span] for name in fs.extras}
    time = None
    if market.times is not None:
        bars[TIME] = market.times[span]
        time = TIME
    unit = "ns" if time else None
    found = windows_at(bars, fs, ends, length=length, time=time, time_unit=unit, threads=1, **market.policy.options())
    return np.ascontiguousarray(found.T)


def start_of(subject: Subject, most: int) -> tuple[Market, Ints]:
    """The first rows of every symbol, for modes that cost more per row, and where they are in the reference."""
    market, keep = head(subject.market, most)
    return market, np.flatnonzero(keep)
