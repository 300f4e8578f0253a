"""Times and intervals in the forms that callers have them, as nanoseconds since 1970 UTC."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat._columns import plain
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
# -2^63 is NaT.
_LAST = 2**63 - 1


def unit_ns(time_unit: str | None) -> int | None:
    """Nanoseconds per `time_unit` ("s", "ms", "us", "ns"), or None."""
    if time_unit is None:
        return None
    if not isinstance(time_unit, str) or time_unit not in UNITS:
        raise SchemaError(f"time_unit must be one of {', '.join(map(repr, UNITS))}, not {time_unit!r}")
    return UNITS[time_unit]


def scalar_ns(time: Any, unit: int | None, *, text: bool = True) -> int:
    """One time as nanoseconds; a naive one is UTC.

    Whole numbers (Python's or NumPy's) count `unit` nanoseconds; datetimes, numpy.datetime64, pandas timestamps and,
    with `text`, ISO 8601 texts need none. Raises SchemaError (column "time") for anything else, for null and for
    times outside 1677..2262.
    """
    if isinstance(time, np.ndarray) and time.ndim == 0:
        time = time[()]
    if isinstance(time, int | np.integer) and not isinstance(time, bool | np.timedelta64):
        if unit is None:
            raise SchemaError(
                "time is a whole number: say its unit with time_unit='s', 'ms', 'us' or 'ns'", column="time"
            )
        return _inside(int(time) * unit, time)
    if isinstance(time, np.datetime64) or hasattr(time, "to_datetime64"):
        return _from_numpy(time)
    if isinstance(time, dt.datetime):
        aware = time if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
        delta = aware - _EPOCH
        return _inside(((delta.days * 86400 + delta.seconds) * 10**6 + delta.microseconds) * 1000, time)
    if isinstance(time, dt.date):
        return scalar_ns(dt.datetime(time.year, time.month, time.day, tzinfo=dt.UTC), None)
    if text and isinstance(time, str):
        try:
            return scalar_ns(dt.datetime.fromisoformat(time), None)
        except ValueError:
            raise SchemaError(f"time {time!r} is not an ISO 8601 date or time", column="time") from None
    raise SchemaError(
        f"time {time!r} is a {type(time).__name__}: a datetime, numpy.datetime64 or whole number (with time_unit=) is "
        "needed",
        column="time",
    )


def _inside(ns: int, time: Any) -> int:
    if -_LAST <= ns <= _LAST:
        return ns
    raise SchemaError(f"time {time} is no time between 1677 and 2262; is the time unit right?", column="time")


def _from_numpy(given: Any) -> int:
    time: np.datetime64 = given if isinstance(given, np.datetime64) else given.to_datetime64()
    if np.isnat(time):
        raise SchemaError("the time is null (NaT)", column="time")
    ns = time.astype("datetime64[ns]")
    if ns.astype(time.dtype) != time:
        raise SchemaError(f"time {time} is no time between 1677 and 2262", column="time")
    return int(ns.astype(np.int64))


def array_ns(times: Any, unit: int | None, name: str = "time", axes: int = 1) -> npt.NDArray[np.int64]:
    """An array of times (datetime64, integers with a unit, or Python datetimes) as int64 nanoseconds.

    Raises SchemaError for null times, other types (text too), integers without a unit, and times outside
    1677..2262; with `column`, `row` and, for two axes, `window`.
    """
    array = plain(times, name)
    if array.ndim != axes:
        raise SchemaError(f"column {name!r} has {array.ndim} axes, {axes} needed", column=name)
    kind = array.dtype.kind
    if kind in "iu":
        return _integers_ns(array, unit, name)
    if kind == "M":
        null = np.isnat(array)
        if null.any():
            raise _at(null, name, "the time is null (NaT)")
        ns = array.astype("datetime64[ns]")
        outside = ns.astype(array.dtype) != array
        if outside.any():
            raise _at(outside, name, "no time between 1677 and 2262")
        return np.ascontiguousarray(ns).view(np.int64)
    if kind == "O":
        return _objects_ns(array, unit, name)
    if kind == "f" and np.isnan(array).any():
        raise _at(np.isnan(array), name, "the time is null")
    raise SchemaError(f"column {name!r} has type {array.dtype}: a datetime or integer array is needed", column=name)


def _integers_ns(array: npt.NDArray[Any], unit: int | None, name: str) -> npt.NDArray[np.int64]:
    if unit is None:
        raise SchemaError(
            f"column {name!r} holds whole numbers: say their unit with time_unit='s', 'ms', 'us' or 'ns'", column=name
        )
    limit = _LAST // unit
    if array.size:
        late, early = int(array.max()) > limit, int(array.min()) < -limit
        if late or early:
            outside = array > limit if late else array < -limit
            raise _at(outside, name, "no time between 1677 and 2262; is the time unit right?")
    raw = array.astype(np.int64)
    return np.ascontiguousarray(raw if unit == 1 else raw * unit)


def _objects_ns(array: npt.NDArray[Any], unit: int | None, name: str) -> npt.NDArray[np.int64]:
    flat = np.empty(array.size, dtype=np.int64)
    for i, time in enumerate(array.ravel()):
        try:
            flat[i] = scalar_ns(time, unit, text=False)
        except SchemaError as error:
            here = np.arange(array.size).reshape(array.shape) == i
            raise _at(here, name, "the time is null" if time is None else str(error)) from None
    return flat.reshape(array.shape)


def _at(bad: npt.NDArray[np.bool_], name: str, what: str) -> SchemaError:
    *window, row = (int(i) for i in np.argwhere(bad)[0])
    if window:
        message = f"column {name!r}, row {row} of window {window[0]}: {what}"
        return SchemaError(message, column=name, row=row, window=window[0])
    return SchemaError(f"column {name!r}, row {row}: {what}", column=name, row=row)


def panel_ns(times: Any, unit: int | None, present: list[bool]) -> npt.NDArray[np.int64]:
    """One time per symbol of a panel; an absent symbol's time is not looked at.

    Raises SchemaError (column "time") as `array_ns`, and for another number of times.
    """
    array = plain(times, "time")
    if array.shape != (len(present),):
        raise SchemaError(
            f"time must be one time, or one for each of {len(present)} symbols, not {array.shape}", column="time"
        )
    here = np.array(present, dtype=np.bool_)
    out = np.zeros(len(here), dtype=np.int64)
    rows = np.flatnonzero(here)
    try:
        out[here] = array_ns(array[here], unit)
    except SchemaError as error:
        if error.row is not None:
            error.row = int(rows[error.row])
        raise
    return out


def interval_ns(interval: Any) -> int:
    """The distance between bars ("1h", "5m", "1d", a timedelta, or whole nanoseconds) in nanoseconds."""
    ns = _interval_ns(interval)
    if ns is None:
        raise SchemaError(
            f"interval {interval!r} is not understood: write it as '5m', '1h', '1d', or as a timedelta (a month has no "
            "fixed length)"
        )
    if not 0 < ns <= _LAST:
        raise SchemaError(f"interval {interval!r} must be longer than 0 and shorter than 292 years")
    return ns


def interval_text(interval: Any) -> str:
    """The one text of an interval, in the largest unit that is whole: "1h" for "60m", "1H", " 1 h " or a timedelta.

    Seven days are a week, as to an exchange, and 24 hours a day. Raises SchemaError as `interval_ns`, and for what is
    no whole number of milliseconds.
    """
    ns = interval_ns(interval)
    for name in ("w", "d", "h", "m", "s", "ms"):
        if ns % _INTERVAL[name] == 0:
            return f"{ns // _INTERVAL[name]}{name}"
    raise SchemaError(f"interval {interval!r} must be whole milliseconds")


def refuse_longer(codes: npt.NDArray[np.int64] | None, times: npt.NDArray[np.int64], ns: int, what: str) -> None:
    """Refuse an interval that all bars are further apart than: each would count as closed before it is.

    Args:
        codes: (n,) symbol of each bar; None for one symbol.
        times: (n,) open times in ns, in any order.
        ns: the interval.
        what: what the error begins with.

    Raises:
        SchemaError: a symbol has three bars or more, and no two bars of any symbol are as close as the interval.
    """
    codes = np.zeros(len(times), dtype=np.int64) if codes is None else codes
    if ((np.diff(codes) == 0) & _within(np.diff(times), ns)).any():  # bars in order need no sorting
        return
    order = np.lexsort((times, codes))
    codes, times = codes[order], times[order]
    steps = np.diff(times)[np.diff(codes) == 0]
    steps = steps[steps > 0]
    if _within(steps, ns).any() or not (codes[2:] == codes[:-2]).any() or not len(steps):
        return
    seen = f"{steps.min() / 1e9:g} s"
    if steps.min() % 10**6 == 0:
        seen = repr(interval_text(int(steps.min())))
    text = f"{what}: the interval is said to be {ns / 1e9:g} s, but no two bars of a symbol are closer than {seen}"
    raise SchemaError(f"{text}: say the bars' own interval, or each would count as known before it has closed")


def _within(steps: npt.NDArray[np.int64], ns: int) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = (steps > 0) & (steps <= ns)
    return found


def span_ns(span: dt.timedelta | np.timedelta64, name: str) -> int:
    """A length of time that may be 0, in nanoseconds.

    Raises SchemaError for NaT, months, years, plain numbers, and what is negative or past 292 years.
    """
    ns = _interval_ns(span)
    if ns is None or not 0 <= ns <= _LAST:
        raise SchemaError(
            f"{name} must be a length of time that is not negative and shorter than 292 years (not months or years, "
            f"which differ), got {span!r}"
        )
    return ns


def _interval_ns(interval: Any) -> int | None:
    if isinstance(interval, dt.timedelta):
        return ((interval.days * 86400 + interval.seconds) * 10**6 + interval.microseconds) * 1000
    if isinstance(interval, np.timedelta64):
        # Months and years have no one length; NaT is no length.
        if np.isnat(interval) or np.datetime_data(interval.dtype)[0] in ("Y", "M", "generic"):
            return None
        ns = interval.astype("timedelta64[ns]")
        return int(ns.astype(np.int64)) if ns.astype(interval.dtype) == interval else _LAST + 1
    if isinstance(interval, int | np.integer) and not isinstance(interval, bool):
        return int(interval)
    if isinstance(interval, str):
        match = re.fullmatch(r"\s*(\d{1,18})\s*([A-Za-z]+)\s*", interval)
        # A month is written "M", and must not be taken for a minute.
        if match and match[2] != "M" and match[2].lower() in _INTERVAL:
            return int(match[1]) * _INTERVAL[match[2].lower()]
    return None
