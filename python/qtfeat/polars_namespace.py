"""Indicators as polars expressions: `pl.col("close").qf.rsi(14)`.

One that reads several columns takes a struct with fields of those names; one with several outputs gives a struct:

    pl.struct("high", "low", "close").qf.atr(14)
    pl.col("close").qf.macd(12, 26, 9).struct.field("hist")
    pl.col("close").qf.rsi(14).over("symbol")

`import qtfeat` registers the namespace where polars was imported before; otherwise import this module. Parameters
and errors are those of `qtfeat.ta`; of an error met in a query polars keeps class and text, not the attributes.
For many features of one table `qtfeat.compute` is faster: what they share is computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from qtfeat._indicators import NAMES, OPTIONS, columns_of, document, feature_set, like, matrix, rows_of, spec_of
from qtfeat.errors import SchemaError

__all__ = ["Indicators"]


@pl.api.register_expr_namespace("qf")
class Indicators:
    """The indicators of the catalogue as methods of an expression; each returns an expression.

    Methods take the indicator's parameters, positional or by name, and `numerics`, `on_bad` and `time_unit`.
    """

    def __init__(self, expr: pl.Expr) -> None:
        self._expr = expr

    def __getattr__(self, name: str) -> Callable[..., pl.Expr]:
        if name not in NAMES:
            raise AttributeError(f"there is no indicator {name!r}; qtfeat.catalog() lists them")

        def method(*args: Any, **named: Any) -> pl.Expr:
            return _expression(self._expr, name, args, named)

        method.__name__ = method.__qualname__ = name
        method.__doc__ = document(name)
        return method

    def __dir__(self) -> list[str]:
        return list(NAMES)


def _expression(expr: pl.Expr, name: str, args: tuple[Any, ...], named: dict[str, Any]) -> pl.Expr:
    given = {k: named.pop(k, default) for k, default in OPTIONS.items()}
    # Built here, so that a wrong parameter is an error where it was written and not where the query runs.
    fs = feature_set(spec_of(name, args, named), given["numerics"])
    columns, outputs = columns_of(name), [row["output"] for row in rows_of(name)]

    def run(series: pl.Series) -> pl.Series:
        found = matrix(fs, _columns(series, name, columns), given["on_bad"], given["time_unit"])
        values = [like(row, series, output) for row, output in zip(found, outputs, strict=True)]
        whole: pl.Series = values[0] if len(values) == 1 else pl.DataFrame(values).to_struct()
        return whole.alias(series.name)

    dtype = pl.Float64() if len(outputs) == 1 else pl.Struct(dict.fromkeys(outputs, pl.Float64()))
    return expr.map_batches(run, return_dtype=dtype)


def _columns(series: pl.Series, name: str, columns: list[str]) -> dict[str, Any]:
    """The bar columns in a series: the fields of a struct, or the series itself."""
    if isinstance(series.dtype, pl.Struct):
        fields = [field.name for field in series.dtype.fields]
        for column in columns:
            if column not in fields:
                raise SchemaError(f"{name} reads {column!r}; the struct has: {', '.join(fields)}", column=column)
        return {c: series.struct.field(c) for c in columns}
    if len(columns) > 1:
        text = ", ".join(f'"{c}"' for c in columns)
        raise SchemaError(f"{name} reads several columns: pl.struct({text}).qf.{name}(...)", column=columns[0])
    return {columns[0]: series}
