"""The functions behind `qtfeat.ta`: one per indicator, made from its catalogue row."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from qtfeat import _core, _tables
from qtfeat._columns import plain
from qtfeat.errors import SchemaError
from qtfeat.features import FeatureSet, Numerics, OnBad, _options

BARS = ("open", "high", "low", "close", "volume", "time")
OPTIONS: dict[str, Any] = {"numerics": "safe", "on_bad": "raise", "time_unit": None}
NAMES: list[str] = sorted({row["id"] for row in _core.catalog_rows()})


@lru_cache(maxsize=512)
def feature_set(spec: str, numerics: Numerics) -> FeatureSet:
    """A set of one spec."""
    return FeatureSet([spec], numerics, fill=None)


@cache
def rows_of(name: str) -> list[dict[str, Any]]:
    """The catalogue rows of an indicator, one per output."""
    return [row for row in _core.catalog_rows() if row["id"] == name]


@cache
def columns_of(name: str) -> list[str]:
    """The bar columns that an indicator reads, in the order in which they are passed."""
    plain = FeatureSet([name])
    return [c for c in BARS if c in (["time"] if plain.needs_time else plain.inputs)]


@cache
def params_of(name: str) -> dict[str, Any]:
    """Parameters of an indicator and their defaults."""
    text = rows_of(name)[0]["params"]
    return dict(_default(*part.split("=", 1)) for part in text.split(", ")) if text else {}


def _default(name: str, text: str) -> tuple[str, Any]:
    if text.startswith('"'):
        return name, text.strip('"')
    if text in ("true", "false"):
        return name, text == "true"
    return name, float(text) if "." in text or "e" in text else int(text)


def spec_of(name: str, given: tuple[Any, ...], named: dict[str, Any]) -> str:
    """An indicator with arguments, as a spec.

    Raises SchemaError for an argument that is no number, text or flag; what else is wrong with it the spec says.
    """
    args = [_argument(name, x) for x in given] + [f"{k}={_argument(name, v)}" for k, v in named.items()]
    return f"{name}({','.join(args)})"


def _argument(name: str, value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    raise SchemaError(
        f"{name} takes {', '.join(columns_of(name))}, then its parameters ({rows_of(name)[0]['params'] or 'none'}); "
        f"a {type(value).__name__} is no parameter"
    )


def matrix(fs: FeatureSet, data: dict[str, Any], on_bad: OnBad, time_unit: str | None) -> npt.NDArray[np.float64]:
    """(F, n): the features of `fs` on one series of columns of any kind."""
    arrays = {c: plain(x, c) for c, x in data.items()}
    options = _options(time_unit, on_bad, "ignore", None, 1, "float64")
    return _tables.matrix(arrays, fs, "time" if "time" in arrays else None, options)


def like(values: npt.NDArray[np.float64], first: Any, name: str) -> Any:
    """Values as what the first column was: a pandas or polars series, or an array."""
    if type(first).__name__ == "Series":
        module = type(first).__module__.partition(".")[0]
        if module == "pandas":
            return sys.modules["pandas"].Series(values, index=first.index, name=name)
        if module == "polars":
            return sys.modules["polars"].Series(name, values, nan_to_null=True)
    return values


@cache
def function(name: str) -> Callable[..., Any]:
    """The function of an indicator."""
    rows, columns, params = rows_of(name), columns_of(name), params_of(name)
    outputs = [row["output"] for row in rows]

    def indicator(*args: Any, **named: Any) -> Any:
        given = {k: named.pop(k, default) for k, default in OPTIONS.items()}
        data = dict(zip(columns, args, strict=False))
        for c in columns[len(data) :]:
            if c not in named:
                raise SchemaError(
                    f"{name} takes {', '.join(columns)}, then its parameters ({rows[0]['params'] or 'none'}): "
                    f"{c} is missing",
                    column=c,
                )
            data[c] = named.pop(c)
        fs = feature_set(spec_of(name, args[len(columns) :], named), given["numerics"])
        found = matrix(fs, data, given["on_bad"], given["time_unit"])
        values = [like(row, data[columns[0]], column) for row, column in zip(found, fs.columns, strict=True)]
        return values[0] if len(values) == 1 else dict(zip(outputs, values, strict=True))

    kind, plain = inspect.Parameter, inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = [kind(c, plain) for c in columns] + [kind(p, plain, default=d) for p, d in params.items()]
    signature += [kind(k, kind.KEYWORD_ONLY, default=d) for k, d in OPTIONS.items()]
    indicator.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    indicator.__name__ = indicator.__qualname__ = name
    indicator.__module__ = "qtfeat.ta"
    indicator.__doc__ = document(name)
    return indicator


def document(name: str) -> str:
    """The docstring of an indicator's function."""
    rows = rows_of(name)
    outputs = ", ".join(row["output"] for row in rows)
    result = "An array like the input" if len(rows) == 1 else f"A dict of arrays like the input: {outputs}"
    return (
        f"{rows[0]['formula']}.\n\n"
        f"Source: {rows[0]['source']}. {result}; {rows[0]['unit']}; "
        f"no value in the first {', '.join(str(row['warmup']) for row in rows)} rows (by default).\n"
    )
