"""Simulated bars with a planted signal. This is no market: see `simulate`."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from qtfeat import _core
from qtfeat.bars.calendar import interval_ms as interval_of
from qtfeat.bars.schema import BAR_SCHEMA, VALUES
from qtfeat.errors import SchemaError

_HOUR_MS = 3_600_000
_HOURLY_VOLATILITY = 0.008


def simulate(
    symbols: int = 8,
    bars: int = 20_000,
    seed: int = 0,
    interval: str = "1h",
    signal_r2: float = 0.03,
    start: str | datetime = "2023-01-01",
    *,
    horizon: int = 5,
    volatility: float | None = None,
    market_share: float = 0.4,
    oracle: bool = False,
) -> pa.Table:
    """Simulate the bars of several correlated symbols, with a signal of known size hidden in them.

    This is no market. It has volatility regimes and clusters, jumps, a common factor and volume that rises with the
    size of the move, so that code meets bars of a realistic shape; but what predicts it was put there, and a model
    that does well on it has shown that the pipeline works, not that it can trade.

    The signal: short moves partly revert, longer ones partly continue. An oracle that knows the rule explains
    `signal_r2` of the variance of the return over the next `horizon` bars; with 0 there is nothing to find.

    Args:
        symbols: number of symbols, named `SIM000`, `SIM001`, ...; start prices spread over 1e-2..1e5.
        bars: bars per symbol.
        seed: same seed, same bits, on every platform; more symbols or bars do not change the ones before.
        interval: bar length, such as `"30s"`, `"5m"`, `"1h"`, `"1d"`.
        signal_r2: 0..0.3 (less where the horizon is very long).
        start: open time of the first bar, taken as UTC when it has no zone.
        horizon: bars ahead that the signal is measured over.
        volatility: root mean square of a bar's log return; default 0.008 per hour, scaled to the interval.
        market_share: share of each symbol's variance that comes from the common factor, 0..0.95.
        oracle: add the column `oracle`, the expected log return over the next `horizon` bars given the bars so far.

    Returns:
        A table sorted by symbol and time: symbol (string), open_time (timestamp[ms, UTC]), open, high, low, close,
        volume (float64), and oracle (float64) if asked for. No nulls.

    Raises:
        SchemaError: a setting outside its range; the text names it.
    """
    interval_ms = interval_of(interval)
    if volatility is None:
        volatility = min(0.1, _HOURLY_VOLATILITY * math.sqrt(interval_ms / _HOUR_MS))
    try:
        names, times, values = _core.simulate(
            symbols=symbols,
            bars=bars,
            seed=seed,
            interval_ms=interval_ms,
            start_ms=_start_ms(start),
            signal_r2=signal_r2,
            horizon=horizon,
            volatility=volatility,
            market_share=market_share,
        )
    except (ValueError, OverflowError) as error:
        raise SchemaError(f"simulate: {error}") from error
    codes = pa.array(np.repeat(np.arange(symbols, dtype=np.int32), bars))
    columns = [
        pa.DictionaryArray.from_arrays(codes, pa.array(names, pa.string())).dictionary_decode(),
        pa.array(np.tile(times, symbols)).cast(BAR_SCHEMA.field("open_time").type),
        *(pa.array(values[i]) for i in range(len(VALUES))),
    ]
    table = pa.Table.from_arrays(columns, schema=BAR_SCHEMA)
    return table.append_column("oracle", pa.array(values[-1])) if oracle else table


def _start_ms(start: str | datetime) -> int:
    try:
        moment = datetime.fromisoformat(start) if isinstance(start, str) else start
    except ValueError as error:
        raise SchemaError(f"start must be an ISO date or time, got {start!r}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)
