"""What several commands share: options, exit codes, and the way from an exception to a message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from qtfeat.errors import GateFailed, QtfeatError
from qtfeat.features import Numerics as Profile
from qtfeat.features import OnBad as BadPolicy
from qtfeat.train.combine import Kind, Method
from qtfeat.train.data import Target as TargetName

if TYPE_CHECKING:
    import qtfeat as qf

VERIFICATION_FAILED = 1
BAD_INPUT = 2
GATE_REFUSED = 3

out = Console()
err = Console(stderr=True)

Source = Annotated[
    Path, typer.Argument(help="Bars: a Parquet, Feather, CSV or Binance Vision zip file, or a folder of them.")
]
SetName = Annotated[
    str, typer.Option("--set", "-s", help="Feature set: kline17, trade14, seq8, wide32 or a .toml file.")
]
Features = Annotated[
    list[str] | None,
    typer.Option("--feature", "-f", help="Instead of a set: 'rsi(14)', 'x = close/sma(close,9)'; repeat."),
]
Numerics = Annotated[Profile, typer.Option(help="Numerics profile: safe, talib or legacy.")]
By = Annotated[str, typer.Option(help="Column that names the symbol; without one the file name does.")]
TimeColumn = Annotated[str, typer.Option("--time", help="Column of open times.")]
OnBad = Annotated[BadPolicy, typer.Option(help="What to do with a bad row: raise, null or reset.")]

Target = Annotated[TargetName, typer.Option(help="What is predicted: raw, volatility-scaled or neutral returns.")]
Ensemble = Annotated[Method, typer.Option(help="How a pair of models becomes one.")]
Calibration = Annotated[Kind, typer.Option(help="How probabilities are corrected.")]


@contextmanager
def friendly() -> Iterator[None]:
    """Turn the project's errors into one line and an exit code: 2 bad input, 3 a gate refused."""
    try:
        yield
    except GateFailed as error:
        err.print(f"refused: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(GATE_REFUSED) from error
    except (QtfeatError, OSError) as error:
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from error
    except ImportError as error:
        # A missing extra is a matter of set-up; a missing part of the package is a bug and keeps its trace.
        if error.name is None or error.name.split(".")[0] == "qtfeat":
            raise
        err.print(f'error: {error}. Install the extras: pip install "qtfeat[all]"', style="red", markup=False)
        raise typer.Exit(1) from error


def feature_set(name: str, features: list[str] | None, numerics: Profile) -> qf.FeatureSet:
    """Return the set that the options describe."""
    import qtfeat as qf

    if features:
        return qf.FeatureSet(features, numerics=numerics)
    if name.endswith(".toml"):
        return qf.FeatureSet.from_toml(name)
    return qf.FeatureSet.load(name, numerics=numerics)


def column_map(by: str, time: str) -> dict[str, str]:
    """Return the column map for names that are not the bar schema's own."""
    given = {"symbol": by, "open_time": time}
    return {bar: source for bar, source in given.items() if bar != source}
