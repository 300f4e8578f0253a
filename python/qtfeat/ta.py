"""One function per indicator, generated from the catalogue.

`ta.rsi(close, 14)`, `ta.macd(close)`, `ta.atr(high, low, close, 14)`: first the bar columns that the indicator
reads (in the order open, high, low, close, volume), then its parameters, positional or by name. Calendar
indicators take the times instead. One output comes back as an array like the input (NumPy, pandas or polars
series); several as a dict by output name. Errors as in `qtfeat.compute`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from qtfeat import _core, _tables
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, _options

__all__ = sorted({row["id"] for row in _core.catalog_rows()})


@cache
def _set(spec: str, numerics: str) -> FeatureSet:
    return FeatureSet([spec], numerics, fill=None)  # type: ignore[arg-type]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _like(values: Any, first: Any) -> Any:
    module = type(first).__module__.partition(".")[0]
    if module == "pandas":
        return sys.modules["pandas"].Series(values, index=first.index)
    if module == "polars":
        return sys.modules["polars"].Series(values, nan_to_null=True)
    return values


def _function(name: str) -> Callable[..., Any]:
    rows = [row for row in _core.catalog_rows() if row["id"] == name]
    plain = FeatureSet([name])
    columns = ["time"] if plain.needs_time else plain.inputs
    columns = [c for c in ("open", "high", "low", "close", "volume", "time") if c in columns]
    outputs = [row["output"] for row in rows]

    def indicator(*args: Any, numerics: str = "safe", on_bad: str = "raise", time_unit: str | None = None, **params: Any) -> Any:
        if len(args) < len(columns):
            raise SchemaError(f"{name} takes {', '.join(columns)}, then its parameters ({rows[0]['params']})")
        data, given = args[: len(columns)], args[len(columns) :]
        spec = [_text(x) for x in given] + [f"{k}={_text(v)}" for k, v in params.items()]
        fs = _set(f"{name}({','.join(spec)})", numerics)
        arrays = {c: _tables._plain(np.asarray(x), c) for c, x in zip(columns, data, strict=True)}
        options = _options(time_unit, on_bad, "ignore", None, 1, "float64")
        matrix = _tables.matrix(arrays, fs, "time" if "time" in columns else None, options)
        values = [_like(row, data[0]) for row in matrix]
        return values[0] if len(values) == 1 else dict(zip(outputs, values, strict=True))

    indicator.__name__ = indicator.__qualname__ = name
    indicator.__doc__ = (
        f"{name}({', '.join(columns)}, {rows[0]['params']}): {rows[0]['formula']}.\n\n"
        f"Source: {rows[0]['source']}. Outputs: {', '.join(outputs)} ({rows[0]['unit']})."
    )
    return indicator


@cache
def __getattr__(name: str) -> Any:
    if name in __all__:
        return _function(name)
    raise AttributeError(f"module 'qtfeat.ta' has no indicator {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
