"""The quality of all bars under a folder, symbol by symbol, so that memory holds one symbol at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa

from qtfeat.bars.coverage import Coverage, SymbolTimes, count_times, coverage
from qtfeat.bars.group import runs, symbol_codes
from qtfeat.bars.quality import QualityReport, merged
from qtfeat.bars.read import Part, Want, bar_files, read_files, together
from qtfeat.bars.schema import origin_of


def survey(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    symbol: str | None = None,
    now: datetime | None = None,
    cells: int = 72,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[QualityReport, Coverage]:
    """Report on the quality of a file or folder of bars without keeping them.

    Files are read together when their paths name the same symbol; so memory holds the bars of one symbol, or of one
    file if that has more.

    Args:
        path: a file, or a folder that is searched with its sub-folders.
        columns: a map from bar column to source column.
        symbol: overrides the symbol column and the file name.
        now: the time against which a last bar counts as unfinished; default the clock.
        cells: columns of the coverage map.
        progress: called with (files done, all of them).

    Returns:
        (the report that `read_bars` gives, a map of where bars are).

    Raises:
        SchemaError: as `read_bars`.
    """
    root = Path(path)
    files = bar_files(root)
    want = Want(columns, symbol)
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(symbol or origin_of(file, file.stem).symbol, []).append(file)
    reports: list[QualityReport] = []
    times: dict[str, SymbolTimes] = {}
    parts: list[Part] = []
    done = 0
    for group in groups.values():
        table, report, read = read_files(group, root, want, now)
        if times.keys() & report.intervals.keys():
            # Files with names that differ share a symbol by their symbol column: only together do they tell the truth.
            return _at_once(files, root, want, now, cells)
        reports.append(report)
        parts += read
        times |= _times(table, report)
        done += len(group)
        if progress is not None:
            progress(done, len(files))
    return _joined(root, reports, parts), coverage(dict(sorted(times.items())), cells)


def _at_once(
    files: list[Path], root: Path, want: Want, now: datetime | None, cells: int
) -> tuple[QualityReport, Coverage]:
    table, report, parts = read_files(files, root, want, now)
    return report.with_notes(together(parts)), coverage(_times(table, report), cells)


def _joined(root: Path, reports: list[QualityReport], parts: list[Part]) -> QualityReport:
    # Only labels and notes of the parts are looked at; their batches are spent.
    return replace(merged(str(root), reports), notes=together(parts))


def _times(table: pa.Table, report: QualityReport) -> dict[str, SymbolTimes]:
    code, names = symbol_codes(table)
    millis = np.asarray(table.column("open_time").cast(pa.int64()))
    starts, ends = runs(code)
    return {
        names[code[a]]: count_times(millis[a:b], report.intervals[names[code[a]]])
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    }
