"""Where things are in a lake: one folder per market, symbol and interval, one file per month."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, unquote

from qtfeat._times import interval_ns, interval_text
from qtfeat.errors import SchemaError

MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")
_LONGEST = 255
_FOLDERS = re.compile(r"market=([^/]+)/symbol=([^/]+)/interval=([^/]+)")


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One series of bars.

    Attributes:
        market: such as `spot` or `um`.
        symbol: any text; what a path cannot hold is percent-encoded there.
        interval: distance between bars, such as `1h`; `60m` and `1H` become that, so that a series is one partition.
    """

    market: str
    symbol: str
    interval: str

    def __post_init__(self) -> None:
        """Refuse empty names and intervals that are none."""
        for name in ("market", "symbol", "interval"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise SchemaError(f"{name} must be a text that is not empty, not {getattr(self, name)!r}")
            try:
                length = len(f"{name}={_segment(getattr(self, name))}")
            except UnicodeEncodeError as error:
                raise SchemaError(f"{name} {getattr(self, name)!r} is no text that a path can hold") from error
            if length > _LONGEST:
                shown = getattr(self, name)[:40]
                raise SchemaError(f"{name} {shown!r}... is too long: a folder's name has at most {_LONGEST} bytes")
        object.__setattr__(self, "interval", interval_text(self.interval))

    @property
    def path(self) -> str:
        """`market=.../symbol=.../interval=...`."""
        return _path(self)

    @property
    def seconds(self) -> float:
        """The interval in seconds."""
        return interval_ns(self.interval) / 1e9

    @classmethod
    def of_path(cls, path: str) -> Partition:
        """The partition of `market=.../symbol=.../interval=...`. Raises SchemaError."""
        match = _FOLDERS.fullmatch(path)
        if match is None:
            raise SchemaError(f"{path!r} is no partition: market=.../symbol=.../interval=... is")
        found = cls(*map(unquote, match.groups()))
        if unquote(match[3]) != found.interval:
            text = f"{path!r}: the interval is written {found.interval!r} in a lake"
            raise SchemaError(f"{text}; add these bars again with it, and remove the folder")
        return found

    def __str__(self) -> str:
        return f"{self.market}/{self.symbol}/{self.interval}"


@lru_cache(maxsize=4096)  # asked for several times per file of a partition
def _path(partition: Partition) -> str:
    return "/".join(f"{k}={_segment(getattr(partition, k))}" for k in ("market", "symbol", "interval"))


def _segment(text: str) -> str:
    """A folder name; `.` alone would be one of the path's own."""
    return quote(text, safe="").replace(".", "%2E") if set(text) == {"."} else quote(text, safe="")


def month(text: str, name: str = "month") -> str:
    """`YYYY-MM` of that, or of a date. Raises SchemaError for anything else."""
    if isinstance(text, str) and MONTH.fullmatch(text[:7]) and (len(text) == 7 or text[7] == "-"):
        return text[:7]
    raise SchemaError(f"{name} must be a month such as '2023-01', not {text!r}")
