"""One function per indicator, generated from the catalogue.

`ta.rsi(close, 14)`, `ta.macd(close)`, `ta.atr(high, low, close, 14)`: first the bar columns that the indicator
reads (in the order open, high, low, close, volume), then its parameters, all positional or by name. Calendar
indicators take the times instead. One output comes back as an array like the first input (a NumPy array, or a
pandas or polars series); several as a dict by output name. No value is NaN (null in polars).

`numerics`, `on_bad` and `time_unit`, by name, are those of `qtfeat.FeatureSet` and `qtfeat.compute`; so are the errors.
"""

from __future__ import annotations

from typing import Any

from qtfeat._indicators import NAMES, function

__all__ = list(NAMES)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return function(name)
    raise AttributeError(f"module 'qtfeat.ta' has no indicator {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
