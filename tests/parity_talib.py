"""Agreement with TA-Lib 0.8: which call answers which output, where TA-Lib starts, and how it seeds.

`ROWS` has one line for each output that TA-Lib has too. `TALIB_ORACLES` spells out TA-Lib's own recipes for
the indicators on which its conventions differ from the catalogue's; the `talib` profile follows them. All
other rows are met by `ORACLES` as they stand. Run this file to print the agreement on the recorded panel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import talib

from oracles import (
    LD,
    ORACLES,
    TINY,
    Array,
    Bars,
    FloatArray,
    Outputs,
    ema_of,
    lag,
    outputs_in_float64,
    ratio,
    rma_of,
)

RELATIVE = 1e-9
OF_THE_CLOSE = 1e-12

# --- TA-Lib's recipes (neutral values, scales and null rows follow the catalogue) ----------------------------


def _skip(x: Array, count: int) -> Array:
    """Null the first `count` values."""
    out = x.copy()
    out[np.flatnonzero(~np.isnan(x))[:count]] = np.nan
    return out


def _held(x: Array, until: Array) -> Array:
    """Null where `until` is."""
    return np.where(np.isnan(until), np.nan, x)


def _macd(b: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, Array]:
    """The fast mean is seeded late, with the last `fast` of the first `slow` closes.

    So both means, and the line, begin at row slow-1. The signal is seeded with the first `signal` values of
    the line. TA-Lib gives nothing before it, at row slow+signal-2; the line is ours to give where it exists.
    """
    line = ema_of(_skip(b.close, slow - fast), fast) - ema_of(b.close, slow)
    smoothed = ema_of(line, signal)
    return {"line": line, "signal": smoothed, "hist": line - smoothed}


def _macd_pct(b: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> dict[str, Array]:
    outputs = _macd(b, fast, slow, signal)
    return {name: ratio(values, b.close, 0.0, 0.0) for name, values in outputs.items()}


def _wilder(x: Array, n: int) -> Array:
    """Seed s = (sum of the first n-1 values) / n, not given; from the n-th value on s += (x - s) / n.

    TA-Lib keeps the sum, n * s: the first n-1 moves added up, then sum - sum/n + x. It is an rma of n rows in
    which the first bar, which has no move yet, counts as 0, without its first value.
    """
    out = np.full(len(x), np.nan, LD)
    known = np.flatnonzero(~np.isnan(x))
    state = np.sum(x[known[: n - 1]], dtype=LD) / n
    for row in known[n - 1 :]:
        state = x[row] if n == 1 else state + (x[row] - state) / n
        out[row] = state
    return out


def _adx(b: Bars, period: int = 14) -> dict[str, Array]:
    """DI and DX from row n; the first ADX, at row 2n-1, is the mean of the n DX so far, then Wilder's step."""
    up, down, before = b.high - lag(b.high, 1), lag(b.low, 1) - b.low, lag(b.close, 1)
    null, floor = np.isnan(up), TINY * b.close.astype(LD)
    plus = np.where(null, np.nan, np.where((up > down) & (up > 0), up, 0.0))
    minus = np.where(null, np.nan, np.where((down > up) & (down > 0), down, 0.0))
    span = _wilder(np.maximum(b.high, before) - np.minimum(b.low, before), period)
    plus_di = 100 * ratio(_wilder(plus, period), span, floor, 0.0)
    minus_di = 100 * ratio(_wilder(minus, period), span, floor, 0.0)
    dx = 100 * ratio(np.abs(plus_di - minus_di), plus_di + minus_di, TINY, 0.0)
    return {"adx": rma_of(dx, period), "plus_di": plus_di, "minus_di": minus_di}


def _stoch(b: Bars, k: int = 14, smooth: int = 3, d: int = 3) -> dict[str, Array]:
    """Our values, but %K is held back until %D exists."""
    ours = ORACLES["stoch"](b, k, smooth, d)
    return {"k": _held(ours["k"], ours["d"]), "d": ours["d"]}


def _obv(b: Bars) -> Array:
    """Our values plus the volume of the first bar: TA-Lib starts there and not at 0."""
    return np.asarray(ORACLES["obv"](b)[""] + b.volume[~np.isnan(b.volume)][:1].sum())


_RECIPES: dict[str, Callable[..., Array | dict[str, Array]]] = {
    "macd": _macd,
    "macd_pct": _macd_pct,
    "adx": _adx,
    "stoch": _stoch,
    "obv": _obv,
}
TALIB_ORACLES: dict[str, Callable[..., Outputs]] = {
    name: outputs_in_float64(function) for name, function in _RECIPES.items()
}

# --- the table ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One output that both have: `call(bars)` is TA-Lib's, times `scale`; `first` is its first valid row."""

    id: str
    output: str
    params: Mapping[str, Any]
    call: Callable[[Bars], FloatArray]
    first: int
    scale: float = 1.0
    recipe: str = "ours"  # or "talib": only TALIB_ORACLES agrees, for the reason in `why`
    why: str = ""
    moved: bool = False  # the values are the same in every profile: only the first row differs
    flat: str = ""  # what TA-Lib 0.8.1 gives on a flat market, where that is not our neutral value
    floor: float = 0.0  # absolute tolerance near 0 of an index: 1e-12 of its scale of 100
    ours: int | None = None  # our first valid row in the `talib` profile, where it is not TA-Lib's, on purpose
    beyond: str = ""  # why the `talib` profile leaves TA-Lib there

    @property
    def spec(self) -> str:
        """The feature as a user writes it."""
        arguments = ",".join(f"{value:g}" for value in self.params.values())
        return (f"{self.id}({arguments})" if arguments else self.id) + (f".{self.output}" if self.output else "")


INDEX = 1e-10
_LATE = "fast mean seeded with the first closes; TA-Lib's with the closes that end at row slow-1"
_SUMS = "Wilder's sums start with n values; TA-Lib's with n-1 values and one step"


def _hlc(function: Callable[..., FloatArray], n: int) -> Callable[[Bars], FloatArray]:
    return lambda b: function(b.high, b.low, b.close, timeperiod=n)


def _pick(function: Callable[[Bars], tuple[FloatArray, ...]], i: int) -> Callable[[Bars], FloatArray]:
    return lambda b: function(b)[i]


def _ema_rows() -> list[Row]:
    def row(n: int) -> Row:
        return Row("ema", "", {"period": n}, lambda b: talib.EMA(b.close, n), n - 1)

    return [row(n) for n in (10, 20, 50)]


def _macd_rows() -> list[Row]:
    params = {"fast": 12, "slow": 26, "signal": 9}

    def row(i: int, name: str, ours: int | None = None, beyond: str = "") -> Row:
        call = _pick(lambda b: talib.MACD(b.close, 12, 26, 9), i)
        return Row("macd", name, params, call, 33, recipe="talib", why=_LATE, ours=ours, beyond=beyond)

    early = "the line exists from row slow-1 on; TA-Lib holds it back until the signal exists"
    return [row(0, "line", 25, early), row(1, "signal"), row(2, "hist")]


def _bb_rows() -> list[Row]:
    def row(i: int, name: str) -> Row:
        call = _pick(lambda b: talib.BBANDS(b.close, 20, 2.0, 2.0), i)
        return Row("bb", name, {"period": 20, "k": 2.0}, call, 19)

    return [row(0, "upper"), row(1, "mid"), row(2, "lower")]


def _stoch_rows() -> list[Row]:
    def row(i: int, name: str, recipe: str, why: str) -> Row:
        call = _pick(lambda b: talib.STOCH(b.high, b.low, b.close, fastk_period=14, slowk_period=3, slowd_period=3), i)
        params = {"k": 14, "smooth": 3, "d": 3}
        return Row("stoch", name, params, call, 17, recipe=recipe, why=why, moved=bool(why), flat="0")

    return [row(0, "k", "talib", "%K is given as soon as it exists; TA-Lib's waits for %D"), row(1, "d", "ours", "")]


def _adx_rows(n: int = 14) -> list[Row]:
    calls = {"adx": (talib.ADX, 2 * n - 1), "plus_di": (talib.PLUS_DI, n), "minus_di": (talib.MINUS_DI, n)}
    return [
        Row("adx", name, {"period": n}, _hlc(call, n), first, recipe="talib", why=_SUMS)
        for name, (call, first) in calls.items()
    ]


def _n(period: int) -> dict[str, int]:
    return {"period": period}


ROWS: list[Row] = [
    Row("sma", "", _n(20), lambda b: talib.SMA(b.close, 20), 19),
    *_ema_rows(),
    *_macd_rows(),
    Row("trix", "", _n(15), lambda b: talib.TRIX(b.close, 15), 43),
    Row("rsi", "", _n(14), lambda b: talib.RSI(b.close, 14), 14, flat="0"),
    Row("roc", "", _n(10), lambda b: talib.ROC(b.close, 10), 10, scale=0.01),
    Row("ret", "", {}, lambda b: talib.ROCP(b.close, 1), 1),
    Row("momentum", "", _n(10), lambda b: talib.MOM(b.close, 10), 10),
    *_stoch_rows(),
    Row("willr", "", _n(14), _hlc(talib.WILLR, 14), 13, flat="0"),
    Row("cci", "", _n(20), _hlc(talib.CCI, 20), 19, floor=INDEX),
    Row("mfi", "", _n(14), lambda b: talib.MFI(b.high, b.low, b.close, b.volume, 14), 14, flat="0", floor=INDEX),
    *_adx_rows(),
    *_bb_rows(),
    Row("true_range", "", {}, lambda b: talib.TRANGE(b.high, b.low, b.close), 1),
    Row("atr", "", _n(14), _hlc(talib.ATR, 14), 14),
    Row("natr", "", _n(14), _hlc(talib.NATR, 14), 14),
    Row("volatility", "", _n(20), lambda b: talib.STDDEV(talib.ROCP(b.close, 1), 20), 20),
    Row("donchian", "upper", _n(20), lambda b: talib.MAX(b.high, 20), 19),
    Row("donchian", "lower", _n(20), lambda b: talib.MIN(b.low, 20), 19),
    Row("donchian", "mid", _n(20), lambda b: talib.MIDPRICE(b.high, b.low, 20), 19),
    Row("obv", "", {}, lambda b: talib.OBV(b.close, b.volume), 0, recipe="talib",
        why="starts at 0; TA-Lib's at the first volume"),
]  # fmt: skip

# --- comparison ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Agreement:
    """What one comparison found; `excess` <= 1 means within 1e-9 relative or 1e-12 of the close."""

    rows: int
    first: int
    first_talib: int
    first_wanted: int  # TA-Lib's, unless the row says otherwise
    distance: float  # largest |difference|
    relative: float  # largest |difference| / |TA-Lib|
    excess: float  # largest |difference| / tolerance
    settled: int  # from this row on everything is within the tolerance

    @property
    def holds(self) -> bool:
        """Whether values and first valid row agree."""
        return self.excess <= 1.0 and self.first == self.first_wanted


def first_valid(x: FloatArray) -> int:
    """Row of the first value, or the length if there is none."""
    known = ~np.isnan(x)
    return int(np.argmax(known)) if known.any() else len(x)


def compare(row: Row, bars: Bars, ours: FloatArray) -> Agreement:
    """Compare our output with TA-Lib's on the rows where both have a value."""
    theirs = row.scale * np.asarray(row.call(bars))
    both = np.flatnonzero(~np.isnan(ours) & ~np.isnan(theirs))
    distance, size = np.abs(ours[both] - theirs[both]), np.abs(theirs[both])
    tolerance = np.maximum(np.maximum(RELATIVE * size, OF_THE_CLOSE * bars.close[both]), row.floor)
    over = np.flatnonzero(distance > tolerance)
    return Agreement(
        rows=len(both),
        first=first_valid(ours),
        first_talib=first_valid(theirs),
        first_wanted=first_valid(theirs) if row.ours is None else row.ours,
        distance=float(distance.max(initial=0.0)),
        relative=float((distance / np.where(size == 0, np.inf, size)).max(initial=0.0)),
        excess=float((distance / tolerance).max(initial=0.0)),
        settled=int(both[over[-1]]) + 1 if len(over) else first_valid(theirs),
    )


def expected(row: Row, bars: Bars) -> FloatArray:
    """Return the output of `row` as the `talib` profile has to give it."""
    oracles = TALIB_ORACLES if row.recipe == "talib" else ORACLES
    return oracles[row.id](bars, **row.params)[row.output]


def report(sets: Mapping[str, Bars], recipes: Mapping[str, Callable[..., Outputs]]) -> list[str]:
    """One line per output: the worst agreement over all sets, and the sets in which it does not hold."""
    lines = [f"{'output':22}{'first':>6}{'talib':>6}{'distance':>10}{'relative':>10}{'excess':>10}{'settled':>9}"]
    for row in ROWS:
        found = {
            name: compare(row, bars, recipes[row.id](bars, **row.params)[row.output]) for name, bars in sets.items()
        }
        worst = max(found.values(), key=lambda agreement: agreement.excess)
        differs = [name for name, agreement in found.items() if not agreement.holds]
        shown = ", ".join(differs) if len(differs) < len(sets) else "all"
        lines.append(
            f"{row.spec:22}{worst.first:6}{worst.first_talib:6}{worst.distance:10.1e}{worst.relative:10.1e}"
            f"{worst.excess:10.1e}{max(a.settled for a in found.values()):9}"
            + (f"  differs: {shown}" if differs else "")
        )
    return lines


def main() -> None:
    """Print how far our conventions and TA-Lib's recipes are from TA-Lib, on recorded and on hostile bars."""
    from barsets import BARSETS, REAL_SYMBOLS, real_bars

    panel = {symbol: real_bars(symbol) for symbol in REAL_SYMBOLS}
    hostile = {name: generate(3_000, 1) for name, generate in BARSETS.items()}
    for title, sets, recipes in [
        ("recorded panel, our conventions", panel, ORACLES),
        ("recorded panel, TA-Lib's recipes", panel, {**ORACLES, **TALIB_ORACLES}),
        ("hostile bars, TA-Lib's recipes", hostile, {**ORACLES, **TALIB_ORACLES}),
    ]:
        print(title, *report(sets, recipes), "", sep="\n")


if __name__ == "__main__":
    main()
