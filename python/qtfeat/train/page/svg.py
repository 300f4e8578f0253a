"""A small chart in SVG: one pair of axes, bars, lines, points. Text stays text: it prints and can be searched."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 14, 46

BLUE, ORANGE, GREY, LIGHT = "#1d5c9c", "#c2571a", "#7b828c", "#c9ced6"

Point = tuple[float, float]


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers within low..high."""
    span = high - low
    if not (math.isfinite(span) and span > 0.0):
        return [low]
    step = 10.0 ** math.floor(math.log10(span / count))
    for factor in (1.0, 2.0, 2.5, 5.0, 10.0):
        if span / (step * factor) <= count:
            step *= factor
            break
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def around(values: Sequence[float], *, zero: bool = True, least: float = 1e-12) -> tuple[float, float]:
    """Return a range that holds the values (and 0), with some room."""
    known = [v for v in values if math.isfinite(v)] + ([0.0] if zero else [])
    low, high = min(known, default=0.0), max(known, default=1.0)
    if low == high:
        return low, low + max(least, 1e-3)
    room = max((high - low) * 0.06, least)
    return (low if zero and low == 0.0 else low - room), (high if zero and high == 0.0 else high + room)


class Chart:
    """One pair of axes.

    Args:
        x: range of the horizontal axis.
        y: range of the vertical axis.
        alt: what the chart shows, for those who cannot see it.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], alt: str) -> None:
        self._x, self._y, self._alt = x, y, alt
        self._parts: list[str] = []
        self._keys: list[tuple[str, str]] = []

    def _at(self, x: float, y: float) -> Point:
        left, right = LEFT, WIDTH - RIGHT
        top, bottom = TOP, HEIGHT - BOTTOM
        (x0, x1), (y0, y1) = self._x, self._y
        across = (x - x0) / (x1 - x0) if x1 > x0 else 0.5
        up = (y - y0) / (y1 - y0) if y1 > y0 else 0.5
        return left + across * (right - left), bottom - up * (bottom - top)

    def y_axis(self, label: str, form: Callable[[float], str]) -> Chart:
        """Draw grid lines, their values and the name of the vertical axis."""
        for value in ticks(*self._y):
            _, y = self._at(self._x[0], value)
            shade = GREY if abs(value) < 1e-15 else "#e3e6ea"
            self._parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{shade}"/>')
            self._text(LEFT - 6, y + 4, form(value), "end")
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._parts.append(
            f'<text transform="translate(13 {middle:.1f}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
        )
        return self

    def x_axis(self, label: str, marks: Sequence[tuple[float, str]]) -> Chart:
        """Draw the marks of the horizontal axis, each a position and its text, and the axis' name."""
        for value, text in marks:
            x, _ = self._at(value, self._y[0])
            self._text(x, HEIGHT - BOTTOM + 16, text, "middle")
        self._text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, label, "middle")
        return self

    def bars(self, places: Sequence[float], values: Sequence[float], wide: float, colour: str, key: str = "") -> Chart:
        """Draw a bar from 0 to each value; one that is NaN is left out."""
        self._key(key, colour)
        for place, value in zip(places, values, strict=True):
            if not math.isfinite(value):
                continue
            x0, y0 = self._at(place - wide / 2, max(value, 0.0))
            x1, y1 = self._at(place + wide / 2, min(value, 0.0))
            box = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{max(y1 - y0, 0.6):.1f}"'
            self._parts.append(f'<rect {box} fill="{colour}"/>')
        return self

    def line(
        self, points: Sequence[Point], colour: str, key: str = "", *, dash: bool = False, dots: bool = False
    ) -> Chart:
        """Draw a line through the points that are finite."""
        self._key(key, colour)
        places = [self._at(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
        if places:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
            style = ' stroke-dasharray="4 4"' if dash else ""
            self._parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{style}/>')
        if dots:
            self._parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in places]
        return self

    def upright(self, place: float) -> Chart:
        """Draw a thin vertical line."""
        x, _ = self._at(place, self._y[0])
        self._parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="{LIGHT}" stroke-dasharray="2 3"/>')
        return self

    def note(self, x: float, y: float, text: str, anchor: str = "middle") -> Chart:
        """Write text at a place of the axes."""
        across, down = self._at(x, y)
        self._text(across, down, text, anchor)
        return self

    def render(self) -> str:
        """Return the `<svg>` element."""
        x = float(LEFT + 8)
        keys = []
        for text, colour in self._keys:
            keys.append(f'<rect x="{x:.0f}" y="{TOP - 8}" width="10" height="10" fill="{colour}"/>')
            keys.append(f'<text x="{x + 14:.0f}" y="{TOP + 1}">{escape(text)}</text>')
            x += 14 + 7.4 * len(text) + 16
        return frame("".join(self._parts) + "".join(keys), self._alt)

    def _key(self, text: str, colour: str) -> None:
        if text:
            self._keys.append((text, colour))

    def _text(self, x: float, y: float, text: str, anchor: str) -> None:
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>')


def frame(body: str, alt: str, height: int = HEIGHT) -> str:
    """Return an `<svg>` element of the usual width around its parts."""
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(alt, quote=True)}">{body}</svg>'
