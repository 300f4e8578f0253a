"""Times and intervals in the forms that callers have them, as nanoseconds since 1970 UTC."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat.errors import SchemaError

UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
_INTERVAL = {
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "min": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
    "w": 604800 * 10**9,
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def unit_ns(time_unit: str | None) -> int | None:
    """Nanoseconds per `time_unit` ("s", "ms", "us", "ns"), or None."""
    if time_unit is None:
        return None
    if time_unit not in UNITS:
        raise SchemaError(f"time_unit must be one of {', '.join(map(repr, UNITS))}, not {time_unit!r}")
    return UNITS[time_unit]


def to_ns(time: Any) -> int:
    """One time (datetime, numpy.datetime64, pandas or polars scalar, ISO text) as nanoseconds; naive is UTC."""
    if isinstance(time, np.datetime64):
        return _checked(time)
    if hasattr(time, "to_datetime64"):
        return _checked(time.to_datetime64())
    if isinstance(time, dt.datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
        delta = aware - _EPOCH
        return ((delta.days * 86400 + delta.seconds) * 10**6 + delta.microseconds) * 1000
    if isinstance(time, dt.date):
        return to_ns(dt.datetime(time.year, time.month, time.day, tzinfo=dt.UTC))
    if isinstance(time, str):
        try:
            return to_ns(dt.datetime.fromisoformat(time))
        except ValueError:
            raise SchemaError(f"time {time!r} is not an ISO 8601 date or time", column="time") from None
    raise SchemaError(
        f"time {time!r} is a {type(time).__name__}: a datetime, numpy.datetime64 or whole number (with time_unit=) "
        "is needed",
        column="time",
    )


def _checked(time: np.datetime64) -> int:
    if np.isnat(time):
        raise SchemaError("the time is null (NaT)", column="time")
    ns = time.astype("datetime64[ns]")
    if ns.astype(time.dtype) != time:
        raise SchemaError(f"time {time} is no time between 1677 and 2262", column="time")
    return int(ns.astype(np.int64))


def array_ns(times: Any, unit: int | None, name: str = "time") -> npt.NDArray[np.int64]:
    """An array of times (datetime64, integers with a unit, or Python datetimes) as int64 nanoseconds.

    Raises SchemaError for null times, unknown types, integers without a unit, and times outside 1677..2262.
    """
    array = np.asarray(times)
    if array.dtype.kind in "iu":
        if unit is None:
            raise SchemaError(
                f"column {name!r} holds whole numbers: say their unit with time_unit='s', 'ms', 'us' or 'ns'",
                column=name,
            )
        limit = (2**63 - 1) // unit
        raw = array.astype(np.int64, copy=False)
        if raw.size and (int(raw.max()) > limit or int(raw.min()) < -limit):
            raise SchemaError(f"column {name!r} has times outside 1677..2262; is the time unit right?", column=name)
        return np.ascontiguousarray(raw * unit)
    if array.dtype.kind == "M":
        bad = np.isnat(array)
        if bad.any():
            raise SchemaError(f"column {name!r}, row {int(np.argmax(bad))}: the time is null (NaT)", column=name)
        ns = array.astype("datetime64[ns]")
        if not np.array_equal(ns.astype(array.dtype), array):
            raise SchemaError(f"column {name!r} has times outside 1677..2262", column=name)
        return np.ascontiguousarray(ns.astype(np.int64))
    if array.dtype.kind == "O":
        return np.ascontiguousarray(np.array([to_ns(t) for t in array.ravel()], dtype=np.int64).reshape(array.shape))
    raise SchemaError(f"column {name!r} has type {array.dtype}: a datetime or integer array is needed", column=name)


def interval_ns(interval: Any) -> int:
    """The distance between bars ("1h", "5m", "1d", a timedelta, or whole nanoseconds) in nanoseconds."""
    if isinstance(interval, dt.timedelta):
        return ((interval.days * 86400 + interval.seconds) * 10**6 + interval.microseconds) * 1000
    if isinstance(interval, np.timedelta64):
        return int(interval.astype("timedelta64[ns]").astype(np.int64))
    if isinstance(interval, int) and not isinstance(interval, bool):
        return interval
    if isinstance(interval, str):
        match = re.fullmatch(r"\s*(\d+)\s*([a-z]+)\s*", interval.lower())
        if match and match[2] in _INTERVAL and int(match[1]) > 0:
            return int(match[1]) * _INTERVAL[match[2]]
    raise SchemaError(f"interval {interval!r} is not understood: write it as '5m', '1h', '1d', or as a timedelta")
