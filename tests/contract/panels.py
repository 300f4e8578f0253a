"""Several symbols at once: as one table, as record batches of one, and as a panel stream."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import qtfeat as qf
from barsets import BARSETS, with_null_rows
from contract.modes import NULL_EVERY, OHLCV, Case, Matrix, Series, batch, series_of
from contract.specs import EXTRA


def symbols(fs: qf.FeatureSet, on_bad: str, seed: int, rows: int = 400) -> list[Case]:
    """One case per kind of series, of different lengths."""
    out = []
    for i, (name, generate) in enumerate(BARSETS.items()):
        bars = generate(rows + 31 * i, seed)
        if on_bad != "raise":
            bars = with_null_rows(bars, every=NULL_EVERY + i)
        out.append(Case(fs, series_of(bars, name), on_bad))
    return out


def owners_of(cases: list[Case], layout: str, seed: int) -> npt.NDArray[np.int64]:
    """Return the symbol of each row: one after the other, in a random order, or moment by moment."""
    lengths = [len(case.series) for case in cases]
    owners = np.repeat(np.arange(len(cases)), lengths)
    if layout == "interleaved":
        return np.random.default_rng(seed).permutation(owners)
    if layout == "moments":
        return owners[np.argsort(np.concatenate([np.arange(n) for n in lengths]), kind="stable")]
    return owners


def joined(cases: list[Case], owners: npt.NDArray[np.int64]) -> pa.Table:
    """Return one table in which row i is the next row of the symbol `owners[i]`."""
    order = np.argsort(owners, kind="stable")
    place = np.empty(len(owners), np.int64)
    place[order] = np.arange(len(owners))
    columns: dict[str, Any] = {"symbol": np.array([case.series.name for case in cases])[owners]}
    for name in ("time", *OHLCV, EXTRA):
        columns[name] = np.concatenate([case.series.columns()[name] for case in cases])[place]
    return pa.table({name: pa.array(values, from_pandas=name in OHLCV) for name, values in columns.items()})


def split(table: Any, cases: list[Case], owners: npt.NDArray[np.int64]) -> list[Matrix]:
    """Return each symbol's (F, n) out of a table of features."""
    values = np.array([table[name].to_numpy() for name in cases[0].fs.columns])
    return [np.ascontiguousarray(values[:, owners == i]) for i in range(len(cases))]


def present_rows(case: Case) -> Series:
    """Return the case's series with null rows made visible: five NaN would mean that there is no bar."""
    ohlcv = case.series.ohlcv.copy()
    ohlcv[np.isnan(ohlcv).all(axis=1), 4] = 1.0
    return Series(ohlcv, case.series.time, case.series.extra, case.series.name)


def panel_push(panel: qf.PanelStream, cases: list[Case], at: list[int], here: npt.NDArray[np.bool_]) -> Matrix:
    """Push the next row of each symbol that is here; (S, F)."""
    ohlcv = np.full((len(cases), 5), np.nan)
    time = np.zeros(len(cases), np.int64)
    extra = np.full((len(cases), 1), np.nan)
    for i in np.flatnonzero(here):
        series, row = cases[i].series, at[i]
        ohlcv[i], time[i], extra[i] = series.ohlcv[row], series.time.astype(np.int64)[row], series.extra[row]
        at[i] += 1
    return panel.push(ohlcv, time, extra if cases[0].fs.extras else None)


def panel_stream(cases: list[Case], seed: int, absent: float, restore_every: int = 0) -> None:
    """Push all symbols together, some of them absent at random, and compare each with its own batch."""
    rng = np.random.default_rng(seed)
    fs, names = cases[0].fs, [case.series.name for case in cases]
    cases = [Case(fs, present_rows(case), case.on_bad) for case in cases]
    panel = qf.PanelStream(fs, names, on_bad=cases[0].on_bad, time_unit="ns")
    expected, at, step = [batch(case) for case in cases], [0] * len(cases), 0
    rows: list[list[Matrix]] = [[] for _ in cases]
    while any(a < len(case.series) for a, case in zip(at, cases, strict=True)):
        left = np.array([a < len(case.series) for a, case in zip(at, cases, strict=True)])
        here = left & (rng.random(len(cases)) >= absent)
        out = panel_push(panel, cases, at, here)
        assert np.isnan(out[~here]).all(), f"{fs.name}: an absent symbol has values"
        for i in np.flatnonzero(here):
            rows[i].append(out[i])
        step += 1
        if restore_every and step % restore_every == 0:
            panel = qf.PanelStream.restore(fs, panel.snapshot(), time_unit="ns")
            panel = panel.clone()
    from contract.bits import assert_same_bits

    for case, want, got in zip(cases, expected, rows, strict=True):
        assert_same_bits(want, np.array(got).T.copy(), fs.columns, f"PanelStream {case.label}")
