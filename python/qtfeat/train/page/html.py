"""Numbers, tables and lists as HTML; every text is escaped here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

NONE = "–"


class Raw(str):
    """HTML that is one already."""

    __slots__ = ()


def number(value: float | None, form: str) -> str:
    """Return a number in a format, or a dash where there is none."""
    return NONE if value is None or not math.isfinite(value) else format(value, form)


def points(value: float | None, form: str = "+.1f") -> str:
    """Return a fraction in basis points."""
    return NONE if value is None else number(value * 1e4, form)


def text(value: Any) -> str:
    """Return text with its special characters escaped; what is HTML already stays."""
    return str(value) if isinstance(value, Raw) else escape(str(value), quote=True)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], *, first: bool = False, prose: int | None = None) -> Raw:
    """Return a table.

    Args:
        head: names of the columns.
        rows: the cells.
        first: whether the first row stands out.
        prose: the column that is text rather than numbers.
    """
    kind = [' class="text"' if i == prose else "" for i in range(len(head))]
    top = "".join(f"<th{k}>{text(name)}</th>" for k, name in zip(kind, head, strict=True))
    body = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td{k}>{text(cell)}</td>" for k, cell in zip(kind, row, strict=True))
        body.append(f'<tr class="first">{cells}</tr>' if first and i == 0 else f"<tr>{cells}</tr>")
    rest = "\n".join(body)
    return Raw(f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>\n{rest}\n</tbody></table></div>')


def figure(title: str, svg: str, caption: str = "") -> Raw:
    """Return a chart with its title; nothing if there is no chart."""
    if not svg:
        return Raw("")
    below = f"<figcaption>{text(caption)}</figcaption>" if caption else ""
    return Raw(f"<figure><h3>{text(title)}</h3>{svg}{below}</figure>\n")


def section(title: str, *parts: str) -> Raw:
    """Return a section with a heading; nothing if all its parts are empty."""
    inside = "".join(part if isinstance(part, Raw) else f"<p>{text(part)}</p>" for part in parts if part)
    return Raw(f"<section><h2>{text(title)}</h2>\n{inside}</section>\n") if inside else Raw("")


def facts(values: Mapping[str, Any]) -> Raw:
    """Return names and values, those of inner mappings with dotted names."""
    lines = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>\n" for name, value in _flat(values))
    return Raw(f"<dl>{lines}</dl>") if lines else Raw("")


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            out += _flat(value, f"{before}{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(part, Mapping | list | tuple) for part in value):
            out.append((f"{before}{name}", f"{len(value)} entries"))
        elif isinstance(value, list | tuple):
            out.append((f"{before}{name}", ", ".join(map(str, value))))
        else:
            out.append((f"{before}{name}", NONE if value is None else str(value)))
    return out
