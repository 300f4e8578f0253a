"""Intervals by name, and months and days as an exchange archive cuts them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError

_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def interval_ms(interval: str) -> int:
    """Return the milliseconds of an interval such as `"30s"`, `"5m"`, `"1h"`, `"1d"`, `"1w"`.

    Raises:
        SchemaError: another spelling; months have no fixed length.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", interval) if isinstance(interval, str) else None
    if match is None:
        raise SchemaError(f"interval must be a number and one of s, m, h, d, w, such as '1h'; got {interval!r}")
    return int(match[1]) * _UNIT_MS[match[2]]


def bucket_starts(millis: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """Return the start of the bucket of so many milliseconds that each time is in."""
    return millis - (millis - bucket_origin(width)) % width


def bucket_origin(width: int) -> int:
    """Return the start of one bucket of so many milliseconds; the others lie whole widths away."""
    # 1970-01-01 was a Thursday; weeks open on Mondays, as on the exchanges.
    return 4 * _UNIT_MS["d"] if width % _UNIT_MS["w"] == 0 else 0


@dataclass(frozen=True, slots=True)
class Span:
    """A range of days, both ends included."""

    first: date
    last: date

    def periods(self) -> Iterator[str]:
        """Yield each whole month as `YYYY-MM` and each day of a month that is not whole as `YYYY-MM-DD`."""
        day = self.first
        while day <= self.last:
            end = month_end(day)
            if day.day == 1 and end <= self.last:
                yield f"{day:%Y-%m}"
            else:
                end = min(end, self.last)
                yield from days(day, end)
            day = end + timedelta(days=1)


def days(first: date, last: date) -> list[str]:
    """Return each day as `YYYY-MM-DD`, both ends included."""
    return [f"{first + timedelta(days=i):%Y-%m-%d}" for i in range((last - first).days + 1)]


def month_end(day: date) -> date:
    """Return the last day of the month of a day."""
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)


def parse_span(first: str, last: str | None, newest: date) -> Span:
    """Return the days from one month or day to another, such as `"2023-01"` to `"2023-06-15"`.

    Args:
        first: a month (its first day) or a day.
        last: a month (its last day) or a day, included; None means up to `newest`.
        newest: the last day there can be; the span is cut there.

    Raises:
        SchemaError: no such month or day, or nothing in the span.
    """
    start = _day(first, "from")
    end = newest
    if last is not None:
        end = _day(last, "to")
        end = month_end(end) if len(last) == len("2023-01") else end
    if end < start:
        raise SchemaError(f"from {first} to {last or newest}: the end is before the start")
    if start > newest:
        raise SchemaError(f"from {first}: the newest day there can be is {newest} (UTC)")
    return Span(start, min(end, newest))


def _day(text: str, what: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", text):
        raise SchemaError(f"{what} must be a month or a day such as 2023-01 or 2023-01-15; got {text!r}")
    try:
        return date.fromisoformat(text if len(text) == len("2023-01-15") else f"{text}-01")
    except ValueError as error:
        raise SchemaError(f"{what}: {text!r} is no day of the calendar") from error
