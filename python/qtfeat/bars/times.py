"""Timestamps of any unit or spelling to milliseconds since the epoch, UTC; never the year 57111."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qtfeat.errors import SchemaError

Times = npt.NDArray[np.int64]

# An epoch number belongs to the unit that puts it between 1973 and 5138: the four ranges do not touch.
_UNITS = (("s", 10**8, 10**11), ("ms", 10**11, 10**14), ("us", 10**14, 10**17), ("ns", 10**17, 2**63 - 1))
_LAST_MS = 2**63 - 1
_LAST_YEAR = {"ns": 2262}
_PER_MS = {"us": 1_000, "ns": 1_000_000}

_TEXT_FORMATS = (
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"),
    *("%Y-%m-%d %I-%p", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d"),
)


@dataclass(slots=True)
class TimeReader:
    """Turns the time column of one file into milliseconds; the unit of the first row holds for the file.

    Attributes:
        where: the file, for error texts.
        decided: how the column is read, for the report; empty before the first batch.
        floored: rows that were not whole milliseconds.
    """

    where: str
    decided: str = ""
    floored: int = 0
    _unit: str = ""
    _format: str = ""

    def read(self, column: pa.Array, name: str, first_row: int) -> tuple[Times, npt.NDArray[np.bool_]]:
        """Return (milliseconds, is null) of a column; `first_row` is the row number of its first value."""
        nulls = np.asarray(column.is_null())
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return self._arrow(column, name, first_row), nulls
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return self._text(column, name, first_row), nulls
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            return self._numbers(column, name, first_row), nulls
        raise SchemaError(f"{self.where}: column {name!r} of type {column.type} is not a time")

    def _arrow(self, column: pa.Array, name: str, first_row: int) -> Times:
        zone = getattr(column.type, "tz", None)
        self.decided = f"{column.type}" + ("" if zone else ", taken as UTC")
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("ms"))
        values = np.asarray(column.cast(pa.int64()).fill_null(0), dtype=np.int64)
        if column.type.unit == "s":
            far = np.abs(values) > _LAST_MS // 1_000
            if far.any():
                row = first_row + int(np.argmax(far))
                raise SchemaError(f"{self.where}: column {name!r}, row {row}: {values[far][0]} s is no time", row=row)
            return values * 1_000
        return self._floor(values, _PER_MS.get(column.type.unit, 1))

    def _numbers(self, column: pa.Array, name: str, first_row: int) -> Times:
        values = np.asarray(column.cast(pa.float64(), safe=False).fill_null(np.nan))
        seen = ~np.isnan(values)
        if not seen.any():
            return np.zeros(len(values), dtype=np.int64)
        if not self._unit:
            first = int(np.flatnonzero(seen)[0])
            self._unit = self._unit_of(values[first], name, first_row + first)
            low, high = next((lo, hi) for unit, lo, hi in _UNITS if unit == self._unit)
            year = _LAST_YEAR.get(self._unit, 5138)
            self.decided = f"epoch {self._unit}, by range: {low:.0e} to {high:.0e} is 1973 to {year}"
        low, high = next((lo, hi) for unit, lo, hi in _UNITS if unit == self._unit)
        outside = seen & ((values < low) | (values >= high))
        if outside.any():
            row = int(np.flatnonzero(outside)[0])
            raise SchemaError(
                f"{self.where}: column {name!r}, row {first_row + row}: {values[row]:.0f} is not a time in "
                f"{self._unit}, the unit of the rows before it; split the file where the unit changes"
            )
        exact = np.asarray(column.fill_null(0).cast(pa.int64(), safe=False))
        return exact * 1_000 if self._unit == "s" else self._floor(exact, _PER_MS.get(self._unit, 1))

    def _unit_of(self, value: float, name: str, row: int) -> str:
        for unit, low, high in _UNITS:
            if low <= value < high:
                return unit
        raise SchemaError(
            f"{self.where}: column {name!r}, row {row}: {value:g} is no epoch time in s, ms, us or ns since 1973"
        )

    def _text(self, column: pa.Array, name: str, first_row: int) -> Times:
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        for known in (self._format,) if self._format else _TEXT_FORMATS:
            parsed = pc.strptime(text, format=known, unit="s", error_is_null=True)
            bad = np.asarray(pc.and_(parsed.is_null(), pc.is_valid(text)))
            # One bad row must not hide the format of the others: the first row decides.
            if not bad[:1].any():
                self._format = known
                self.decided = f"text {known!r}, taken as UTC"
                if bad.any():
                    break
                return np.asarray(parsed.cast(pa.int64()).fill_null(0), dtype=np.int64) * 1_000
        else:
            # Text in a column of epoch numbers makes text of all of it.
            numbers = np.asarray(pc.match_substring_regex(text, r"^[0-9.]+$").fill_null(True))
            bad = ~numbers if numbers[:1].all() and not numbers.all() else np.ones(1, dtype=np.bool_)
        row = int(np.flatnonzero(bad)[0])
        raise SchemaError(
            f"{self.where}: column {name!r}, row {first_row + row}: cannot read the time {text[row].as_py()!r}; "
            "epoch numbers and ISO 8601 (2024-12-31 23:00:00) are understood"
        )

    def _floor(self, values: Times, per_ms: int) -> Times:
        if per_ms == 1:
            return values
        self.floored += int(np.count_nonzero(values % per_ms))
        return values // per_ms
