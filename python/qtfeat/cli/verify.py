"""`qtfeat verify`."""

from __future__ import annotations

from pathlib import Path

import typer

import qtfeat as qf
from qtfeat.bars import read_bars
from qtfeat.cli.options import VERIFICATION_FAILED, column_map, err, feature_set, out
from qtfeat.errors import BadBarError, FeatureSpecError, GapError, QtfeatError, SchemaError, UnsortedError
from qtfeat.features import Numerics


def prove(source: Path, set_name: str, features: list[str] | None, by: str, time: str, numerics: Numerics) -> None:
    """Check the promises on the bars of a source and print what was compared.

    A promise that does not hold exits with 1, naming the promise and the column.

    Raises:
        QtfeatError: bad bars or a bad feature set.
    """
    fs = feature_set(set_name, features, numerics)
    bars, quality = read_bars(source, columns=column_map(by, time) or None, extras=fs.extras)
    if not quality.ok:
        found = ", ".join(f"{count:,} {kind}" for kind, count in quality.counts.items())
        err.print(f"note: the bars have {found}; `qtfeat inspect` says where", style="yellow", markup=False)
    try:
        report = qf.verify(bars, fs, by="symbol", time="open_time")
    except (BadBarError, FeatureSpecError, GapError, SchemaError, UnsortedError):
        raise
    except QtfeatError as error:
        err.print(f"verification failed: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(VERIFICATION_FAILED) from error
    out.print(str(report), markup=False, highlight=False, soft_wrap=True)
