"""One value of a stream message, checked: text, bytes or what JSON gives becomes a number, a time, a flag, a text."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any

from qtfeat._times import interval_ns, scalar_ns

# What the engine takes as a bar; see "Accepted bars" in the design.
_PRICES = (1e-110, 1e110)
_VOLUMES = (1e-30, 1e30)
# An epoch number belongs to the unit that puts it between 1973 and 5138: the four ranges do not touch.
_EPOCH = ((10**8, 10**11, 10**9), (10**11, 10**14, 10**6), (10**14, 10**17, 1000), (10**17, 2**63, 1))
_TRUE, _FALSE = ("true", "1", "yes", "t"), ("false", "0", "no", "f")
_LONGEST = 256


def text(value: Any) -> str:
    """A text that is not empty, has no control characters and at most 256 characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = value.decode() if isinstance(value, bytes) else value
    if not isinstance(found, str) or not found or len(found) > _LONGEST or not found.isprintable():
        raise ValueError("not a text of 1 to 256 printable characters")
    return found


def number(value: Any) -> float:
    """A finite number."""
    try:
        found = float(value)
    except (TypeError, OverflowError, ValueError):
        raise ValueError("not a number") from None
    # float() takes 1_000 and True, which no exchange sends as a number.
    if value is True or value is False or (b"_" in value if isinstance(value, bytes) else "_" in str(value)):
        raise ValueError("not a number")
    if not isfinite(found):
        raise ValueError("not a finite number")
    return found


def price(value: Any) -> float:
    """A price in the range that the engine takes."""
    found = number(value)
    if not _PRICES[0] <= found <= _PRICES[1]:
        raise ValueError("not a price (1e-110 to 1e110)")
    return found


def volume(value: Any) -> float:
    """A volume: 0, or in the range that the engine takes."""
    found = number(value)
    if found != 0 and not _VOLUMES[0] <= found <= _VOLUMES[1]:
        raise ValueError("not a volume (0, or 1e-30 to 1e30)")
    return found


def quantity(value: Any) -> float:
    """What was traded: a volume above 0."""
    found = volume(value)
    if found == 0:
        raise ValueError("nothing was traded")
    return found


def whole(value: Any) -> int:
    """A whole number of 64 bits."""
    try:
        found = int(value if not isinstance(value, bool | float) else "")
    except (TypeError, ValueError):
        raise ValueError("not a whole number") from None
    if not -(2**63) <= found < 2**63:
        raise ValueError("not a whole number of 64 bits")
    return found


def time(value: Any) -> int:
    """A time as nanoseconds since 1970 UTC: an epoch number in s, ms, us or ns (by its range), or ISO 8601."""
    found = value.decode() if isinstance(value, bytes) else value
    try:
        count: int | float = int(found)
        if isinstance(found, float) and count != found:
            count = found
    except (TypeError, ValueError, OverflowError):
        try:
            count = number(found)
        except ValueError:
            return _iso(found)
    for low, high, unit in _EPOCH:
        if low <= count < high:
            return round(count * unit) if isinstance(count, float) else count * unit
    raise ValueError("not a time after 1973 in s, ms, us or ns")


def _iso(found: Any) -> int:
    try:
        return scalar_ns(text(found), None)
    except ValueError as error:
        raise ValueError(f"not a time: {error}") from None


def flag(value: Any) -> bool:
    """True or false, as JSON, 1/0 or text."""
    found = str(value, "utf-8") if isinstance(value, bytes) else value
    word = str(found).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError("neither true nor false")


def interval(value: Any) -> str:
    """The length of a bar, such as `1h`."""
    found = text(value)
    interval_ns(found)
    return found


def levels(value: Any) -> list[tuple[float, float]]:
    """One side of an order book: pairs of price and size, as a list or its JSON."""
    if isinstance(value, bytes | str):
        value = parse_json(value)
    return [_level(level) for level in value] if isinstance(value, list) else [_level(value)]


def _level(level: Any) -> tuple[float, float]:
    if not isinstance(level, list | tuple) or len(level) < 2:
        raise ValueError("not a list of [price, size]")
    return price(level[0]), volume(level[1])


def parse_json(data: bytes | str) -> Any:
    """What a JSON text says. Raises ValueError; NaN and Infinity are no JSON."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")
