"""KunQuant: the 17 columns compiled to C++ with SIMD lanes across symbols, float64.

The module is compiled once for this machine and all buffers exist before the clock starts.
`kernel` is its work alone, in its own memory layout; `rows` is the whole job that the other
peers do: symbol-major columns in, symbol-major columns out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from KunQuant.Driver import KunCompilerConfig
from KunQuant.jit import cfake
from KunQuant.Op import Builder, ConstantOp, Input, OpBase, Output
from KunQuant.ops import BackRef, ExpMovingAvg, Max, WindowedAvg, WindowedStddev
from KunQuant.runner import KunRunner
from KunQuant.Stage import Function

from bench.columns import KLINE17, Columns
from bench.data import Array, Bars

INPUTS = ("high", "low", "close", "volume")
# KunQuant's deviation divides by n - 1; ours by n.
POPULATION = (19.0 / 20.0) ** 0.5


def _graph() -> Function:
    builder = Builder()
    with builder:
        high, low, close, volume = (Input(name) for name in INPUTS)
        for name, op in _named(high, low, close, volume).items():
            Output(op, name)
    return Function(builder.ops)


def _named(high: OpBase, low: OpBase, close: OpBase, volume: OpBase) -> dict[str, OpBase]:
    ema = {span: ExpMovingAvg(close, span) for span in (10, 12, 20, 26, 50)}
    before = BackRef(close, 1)
    change = close - before
    gain = ExpMovingAvg(Max(change, ConstantOp(0.0)), 27)
    loss = ExpMovingAvg(Max(before - close, ConstantOp(0.0)), 27)
    macd = ema[12] - ema[26]
    signal = ExpMovingAvg(macd, 9)
    mean = WindowedAvg(close, 20)
    width = WindowedStddev(close, 20) * (4.0 * POPULATION)
    ret = close / before - 1.0
    return {
        "ret": ret,
        "range_hl": (high - low) / close,
        "volume_change": volume / BackRef(volume, 1) - 1.0,
        "volume_ratio": volume / WindowedAvg(volume, 20),
        "ema_10": ema[10],
        "ema_20": ema[20],
        "ema_50": ema[50],
        "ema_cross_10_20": ema[10] / ema[20] - 1.0,
        "ema_cross_10_50": ema[10] / ema[50] - 1.0,
        "rsi": gain * 100.0 / (gain + loss),
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "bb_pct": (close - mean) / width + 0.5,
        "bb_width": width / mean,
        "momentum": close - BackRef(close, 10),
        "volatility": WindowedStddev(ret, 20) * POPULATION,
    }


@dataclass(frozen=True)
class Options:
    """How the module is compiled, and its memory layout (`TS` or `STs`, as KunQuant names them)."""

    lanes: int
    partition_factor: int
    layout: str


# What its documentation shows, with double precision; and the fastest that we found.
DOCUMENTED = Options(lanes=4, partition_factor=3, layout="TS")
TUNED = Options(lanes=8, partition_factor=8, layout="STs")


class KunQuantPanel:
    """The compiled module with input and output buffers for one panel of equal-length series."""

    def __init__(self, stacked: Bars, symbols: int, options: Options) -> None:
        """Compile the module and allocate its buffers; `stacked` holds symbol-major columns."""
        if symbols % options.lanes:
            raise ValueError(f"{symbols} symbols is no multiple of {options.lanes} lanes")
        config = KunCompilerConfig(
            dtype="double",
            blocking_len=options.lanes,
            input_layout=options.layout,
            output_layout=options.layout,
            partition_factor=options.partition_factor,
            allow_unaligned=False,
            options={"no_fast_stat": "no_warn"},
        )
        compiler = cfake.CppCompilerConfig(machine=cfake.NativeCPUFlags())
        self._library = cfake.compileit([("kline17", _graph(), config)], "kline17", compiler)
        self._module = self._library.getModule("kline17")
        self._executor = KunRunner.createSingleThreadExecutor()
        self._stacked = stacked
        self._rows = stacked["close"].size // symbols
        if options.layout == "TS":
            self._shape: tuple[int, ...] = (symbols, self._rows)
            self._axes: tuple[int, ...] = (1, 0)
        else:
            self._shape = (symbols // options.lanes, options.lanes, self._rows)
            self._axes = (0, 2, 1)
        blocked = tuple(self._shape[axis] for axis in self._axes)
        self._input = {name: np.empty(blocked) for name in INPUTS}
        buffer = np.empty((len(KLINE17), *blocked))
        self._output: dict[str, Any] = dict(zip(KLINE17, buffer, strict=True))
        flat = np.empty((len(KLINE17), stacked["close"].size))
        self._flat: Columns = dict(zip(KLINE17, flat, strict=True))
        self.load()

    def load(self) -> None:
        """Copy the symbol-major input columns into the module's layout."""
        for name in INPUTS:
            self._input[name][...] = self._stacked[name].reshape(self._shape).transpose(self._axes)

    def kernel(self) -> dict[str, Array]:
        """Compute in the module's own layout, into reused memory; input must be loaded."""
        result: dict[str, Array] = KunRunner.runGraph(
            self._executor, self._module, self._input, 0, self._rows, self._output
        )
        return result

    def rows(self) -> Columns:
        """Do the whole job: symbol-major columns in, symbol-major columns out, reused memory."""
        self.load()
        for name, values in self.kernel().items():
            self._flat[name].reshape(self._shape)[...] = values.transpose(self._axes)
        return self._flat
