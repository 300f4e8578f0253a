"""`qtfeat catalog`."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

import qtfeat as qf
from qtfeat.cli.options import out
from qtfeat.errors import FeatureSpecError


def show(id: str | None, *, as_json: bool) -> None:  # noqa: A002
    """Print the catalogue, or one indicator of it.

    Raises:
        FeatureSpecError: no such indicator.
    """
    rows = qf.catalog().to_pylist()
    if id is not None:
        known = sorted({row["id"] for row in rows})
        rows = [row for row in rows if row["id"] == id]
        if not rows:
            raise FeatureSpecError(f"no indicator is called {id!r}; there are {', '.join(known)}")
    if as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    elif id is not None:
        _details(rows)
    else:
        _overview(rows)


def value_range(row: dict[str, Any]) -> str:
    """Return the range of an output in words."""
    low, high = row["min"], row["max"]
    if low is None and high is None:
        return "any"
    if high is None:
        return f">= {low:g}"
    return f"<= {high:g}" if low is None else f"{low:g}..{high:g}"


def neutral_value(row: dict[str, Any]) -> str:
    """Return the neutral value of an output, empty where it has none."""
    value = row["neutral"]
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _overview(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("indicator", "output", "unit", "range", "neutral", "warm-up", "memory"):
        table.add_column(name, justify="right" if name in ("neutral", "warm-up") else "left", overflow="fold")
    for row in rows:
        cells = (row["output"], row["unit"], value_range(row), neutral_value(row), row["warmup"], row["memory"])
        table.add_row(call(row), *map(str, cells))
    out.print(table)
    out.print("\nqtfeat catalog ID prints the formula and its source.", style="dim")


def call(row: dict[str, Any]) -> str:
    """Return an indicator with its defaults, as it is written in a spec."""
    return f"{row['id']}({row['params']})" if row["params"] else str(row["id"])


def _details(rows: list[dict[str, Any]]) -> None:
    first = rows[0]
    out.print(call(first), style="bold", markup=False)
    out.print(f"formula: {first['formula']}", markup=False, soft_wrap=True)
    out.print(f"source:  {first['source']}", markup=False, soft_wrap=True)
    for row in rows:
        out.print(
            f"  {row['output']}: {row['unit']}, range {value_range(row)}, neutral {neutral_value(row) or 'none'}, "
            f"warm-up {row['warmup']} rows, memory {row['memory']}",
            markup=False,
            soft_wrap=True,
        )
