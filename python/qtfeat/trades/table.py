"""Closed trades, checked: the rows that can be learnt from, and why the others cannot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat._times import scalar_ns
from qtfeat.errors import SchemaError

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]

# An epoch number belongs to the unit that puts it between 1973 and 5138: the four ranges do not touch.
_UNITS = ((10**8, 10**11, 10**9), (10**11, 10**14, 10**6), (10**14, 10**17, 10**3), (10**17, 2**63 - 1, 1))
_DIRECTIONS = {"long": 1, "buy": 1, "1": 1, "short": -1, "sell": -1, "-1": -1}
_IS_SHORT = {"false": 1, "0": 1, "true": -1, "1": -1}


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is left out.

    Attributes:
        row: row of the source, from 0.
        id: its id, where it has one.
        reason: what is wrong with it.
        value: the value that is.
    """

    row: int
    id: str | None
    reason: str
    value: str

    def __str__(self) -> str:
        """Return one line for a report."""
        name = "" if self.id is None else f" (id {self.id})"
        return f"row {self.row}{name}: {self.reason}: {self.value}"


@dataclass(frozen=True, slots=True)
class Trades:
    """Closed trades, one entry each, in the order of the source.

    Attributes:
        row: row of the source, from 0.
        symbol: symbol of each.
        entry: datetime64[ns] of the entry.
        exit: datetime64[ns] of the exit, not before the entry.
        pnl: what a long position of the same size, without leverage, would have made, a fraction: profits of shorts
            count negative, so that BUY means the same for both.
        ret: exit price over entry price less 1; equals `pnl` where there are no prices.
        direction: int8, 1 long, -1 short.
        refused: the rows that were left out.
        earlier: rows left out because they are older than `since`.
        source: where they are from.
    """

    row: npt.NDArray[np.int64]
    symbol: tuple[str, ...]
    entry: Times
    exit: Times
    pnl: Floats
    ret: Floats
    direction: npt.NDArray[np.int8]
    refused: tuple[Refused, ...] = ()
    earlier: int = 0
    source: str = ""

    def __len__(self) -> int:
        """Trades."""
        return len(self.pnl)

    def reasons(self) -> dict[str, int]:
        """Return how many rows were left out for which reason, the most frequent first."""
        return dict(Counter(one.reason for one in self.refused).most_common())


class _RefusedError(Exception):
    """Why one row is left out."""

    def __init__(self, reason: str, value: Any) -> None:
        super().__init__(reason)
        self.reason, self.value = reason, value


def check_trades(
    columns: Mapping[str, Sequence[Any]], *, unit: str, since: np.datetime64 | None, source: str
) -> Trades:
    """Check the rows of a table of trades, one by one.

    Args:
        columns: by the names of `COLUMNS`, all of one length; values as Python objects.
        unit: "percent" or "fraction", of `pnl_pct`.
        since: leave out trades that were entered before.
        source: for the report.
    """
    n = len(columns["pnl_pct"])
    kept: list[tuple[int, str, int, int, float, float, int]] = []
    refused: list[Refused] = []
    seen: dict[Any, int] = {}
    earlier = 0
    for row in range(n):
        values = {name: column[row] for name, column in columns.items()}
        name = None if _missing(values.get("id")) else str(values["id"])
        try:
            symbol, entry, left, pnl, ret, direction = _row(values, unit)
            # Without ids, a row that says the same as another is the same trade.
            _once(seen, name if "id" in columns else tuple(map(str, values.values())), row)
        except _RefusedError as why:
            refused.append(Refused(row, name, why.reason, repr(why.value)))
            continue
        if since is not None and entry < int(since.astype("datetime64[ns]").astype(np.int64)):
            earlier += 1
            continue
        kept.append((row, symbol, entry, left, pnl, ret, direction))
    rows, symbols, entries, exits, pnls, rets, directions = zip(*kept, strict=True) if kept else ((),) * 7
    return Trades(
        np.array(rows, dtype=np.int64),
        tuple(symbols),
        np.array(entries, dtype=np.int64).view("datetime64[ns]"),
        np.array(exits, dtype=np.int64).view("datetime64[ns]"),
        np.array(pnls, dtype=np.float64),
        np.array(rets, dtype=np.float64),
        np.array(directions, dtype=np.int8),
        tuple(refused),
        earlier,
        source,
    )


def _row(values: Mapping[str, Any], unit: str) -> tuple[str, int, int, float, float, int]:
    """Return symbol, entry and exit in ns, outcome, price return and direction of one row."""
    if "id" in values and _missing(values["id"]):
        raise _RefusedError("no id", values["id"])
    if _missing(values["symbol"]) or not str(values["symbol"]).strip():
        raise _RefusedError("no symbol", values["symbol"])
    entry = _moment(values["entry_time"], "entry time")
    left = _moment(values["exit_time"], "exit time")
    if left < entry:
        raise _RefusedError("the exit is before the entry", values["exit_time"])
    direction = _direction(values)
    prices = [_positive(values, name) for name in ("entry_price", "exit_price") if name in values]
    leverage = _positive(values, "leverage") if "leverage" in values else 1.0
    made = _number(values["pnl_pct"], "profit or loss") / (100.0 if unit == "percent" else 1.0) / leverage
    if made <= -1.0:
        raise _RefusedError("the loss is all there was, or more", values["pnl_pct"])
    if made > 1e6:
        raise _RefusedError("the profit is a million times the stake", values["pnl_pct"])
    pnl = direction * made
    ret = prices[1] / prices[0] - 1.0 if len(prices) == 2 else pnl
    if ret > 1e6:
        raise _RefusedError("the exit price is a million times the entry price", prices[1])
    return str(values["symbol"]).strip(), entry, left, pnl, ret, direction


def _once(seen: dict[Any, int], key: Any, row: int) -> None:
    if seen.setdefault(key, row) != row:
        what = "id" if isinstance(key, str) else "same row"
        raise _RefusedError(f"the {what} was there before", f"row {seen[key]}")


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any, what: str) -> float:
    if _missing(value) or (isinstance(value, str) and not value.strip()):
        raise _RefusedError(f"no {what}", value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number):
        raise _RefusedError(f"the {what} is no finite number", value)
    return number


def _positive(values: Mapping[str, Any], name: str) -> float:
    what = name.replace("_", " ")
    number = _number(values[name], what)
    if number <= 0.0:
        raise _RefusedError(f"the {what} is not above 0", values[name])
    return number


def _direction(values: Mapping[str, Any]) -> int:
    for name, known in (("direction", _DIRECTIONS), ("is_short", _IS_SHORT)):
        if name in values:
            found = known.get(str(values[name]).strip().lower().removesuffix(".0"))
            if found is None:
                raise _RefusedError("the direction is neither long nor short", values[name])
            return found
    return 1


def _moment(value: Any, what: str) -> int:
    if _missing(value) or (isinstance(value, str) and not value.strip()):
        raise _RefusedError(f"no {what}", value)
    number = value
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = value.strip().replace("Z", "+00:00")
    try:
        if isinstance(number, float | int | np.integer) and not isinstance(number, bool):
            return _epoch(number)
        return scalar_ns(number, None)
    except (SchemaError, OverflowError):
        raise _RefusedError(f"the {what} is no time", value) from None


def _epoch(number: float | np.integer[Any]) -> int:
    for low, high, per_unit in _UNITS:
        if low <= number < high:
            # Whole numbers exactly; a float of milliseconds has digits to spare.
            ns = round(number * per_unit) if isinstance(number, float) else int(number) * per_unit
            if ns < 2**63:
                return ns
    raise SchemaError(f"{number} is no epoch time in s, ms, us or ns from 1973 to 2262")
