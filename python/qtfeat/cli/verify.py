"""`qtfeat verify`."""

from __future__ import annotations

from pathlib import Path

import qtfeat as qf
from qtfeat.bars import read_bars
from qtfeat.cli.options import column_map, err, feature_set, out


def prove(source: Path, set_name: str, features: list[str] | None, by: str, time: str, numerics: str) -> None:
    """Check the promises on the bars of a source and print what was compared.

    Raises:
        QtfeatError: bad bars, or a promise that does not hold; the text names the promise and the column.
    """
    fs = feature_set(set_name, features, numerics)
    bars, quality = read_bars(source, columns=column_map(by, time) or None, extras=fs.extras)
    if not quality.ok:
        found = ", ".join(f"{count:,} {kind}" for kind, count in quality.counts.items())
        err.print(f"note: the bars have {found}; `qtfeat inspect` says where", style="yellow", markup=False)
    report = qf.verify(bars, fs, by="symbol", time="open_time")
    out.print(str(report), markup=False, highlight=False, soft_wrap=True)
