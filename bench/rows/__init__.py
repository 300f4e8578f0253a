"""The rows of the table: what is run, against whom, in what process.

`ROWS` only names builders, so that a process imports no peer but its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module

from bench.harness import Case

# A malloc that keeps what it is given back: TA-Lib + NumPy is half as fast again with it, and we
# compare with a peer at its best.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
}


@dataclass(frozen=True)
class Row:
    """One line of the table. `builder` is `module:function` below `bench.rows`."""

    id: str
    work: str
    peer: str
    builder: str
    threads: int = 1
    env: dict[str, str] = field(default_factory=lambda: dict(KEEP_MEMORY))
    pairs: int = 9
    # Wall clock, not pinned: where a peer hands over between threads of its own, CPU seconds would
    # count its waiting against it. Always so with more than one thread.
    wall_clock: bool = False

    @property
    def pinned(self) -> bool:
        """Whether the row runs on one core, timed in CPU seconds."""
        return self.threads == 1 and not self.wall_clock

    def build(self, *, quick: bool = False) -> Case:
        """Make the data and both calls. `quick` shrinks the data where that keeps the meaning."""
        module, function = self.builder.split(":")
        case = getattr(import_module(f"bench.rows.{module}"), function)(quick=quick)
        assert isinstance(case, Case)
        return case


_SERIES = "kline17, one series, 1 M bars, 1 thread"
_PANEL = "kline17, panel of 200 x 20,000 bars, 1 thread"
_WINDOWS = "kline17, last row of 100,000 windows x 100 bars, 1 thread, AVX2"
_PUSH = "streaming push of all 17, from Python"
_SMALL = "wide32, 100 rows, one call"
_ROW = "500 trees, one row from Python"
_BATCH = "500 trees, 100,000 rows, 1 thread"
_BACKFILL = "backfill Parquet -> Parquet, 6 x 20,000 bars, 1 thread"
_AVX2 = KEEP_MEMORY | {"QTFEAT_CPU": "avx2"}

ROWS: tuple[Row, ...] = (
    Row("series_talib", _SERIES, "TA-Lib + NumPy, leanest form", "series:talib"),
    Row("series_pandas", _SERIES, "pandas", "series:pandas"),
    Row("series_polars", _SERIES, "polars, one select", "series:polars"),
    Row("series_polars_staged", _SERIES, "polars, staged by hand", "series:polars_staged"),
    Row("panel_kunquant", _PANEL, "KunQuant as documented", "panel:kunquant_documented", pairs=5),
    Row("panel_kunquant_tuned", _PANEL, "KunQuant tuned", "panel:kunquant_tuned", pairs=5),
    Row(
        "panel_kunquant_kernel",
        _PANEL,
        "KunQuant tuned, its kernel alone in its own layout",
        "panel:kunquant_kernel",
        pairs=5,
    ),
    Row(
        "panel_polars",
        "kline17, panel of 200 x 20,000 bars, 2 threads",
        'polars over("symbol")',
        "panel:polars_over",
        threads=2,
        pairs=5,
    ),
    Row(
        "panel_polars_by_time",
        "kline17, panel of 200 x 20,000 bars in order of time, 2 threads",
        'polars over("symbol")',
        "panel:polars_over_by_time",
        threads=2,
        pairs=5,
    ),
    Row("windows_talib", _WINDOWS, "TA-Lib per window", "windows:talib", env=_AVX2),
    Row("windows_pandas", _WINDOWS, "pandas per window", "windows:pandas", env=_AVX2),
    Row("labels_forward", "forward labels, panel of 15 x 20,000 bars, 1 thread", "pandas groupby", "labels:forward"),
    Row(
        "labels_barrier",
        "triple barrier of 24 bars, panel of 15 x 20,000 bars, 1 thread",
        "NumPy, symbols apart",
        "labels:barrier",
    ),
    Row(
        "training_matrix",
        "training matrix: kline17, labels, 5 purged folds, panel of 15 x 20,000 bars, 1 thread",
        "pandas + NumPy by hand",
        "matrix:prepared",
        pairs=5,
    ),
    Row(
        "synthetic_talib",
        "synthetic windows of 100 bars with trade14, 1 thread",
        "NumPy + TA-Lib per window",
        "synthetic:features",
    ),
    Row("push_nautilus", _PUSH, "nautilus_trader, 7 indicators", "stream:nautilus"),
    Row("push_nautilus_rust", _PUSH, "nautilus_trader, its Rust classes", "stream:nautilus_rust"),
    Row("push_talib", _PUSH, "TA-Lib's incremental API", "stream:talib"),
    Row("push_talipp", _PUSH, "talipp", "stream:talipp"),
    Row("panel_stream", "PanelStream, 500 symbols, one push", "-", "stream:panel_stream"),
    Row(
        "small_polars",
        f"{_SMALL}, polars frame",
        "32 polars expressions",
        "small:polars_frame",
        pairs=25,
        wall_clock=True,
    ),
    Row(
        "small_dict",
        f"{_SMALL}, dict of NumPy",
        "32 polars expressions",
        "small:dict_of_numpy",
        pairs=25,
        wall_clock=True,
    ),
    Row("trees_row_xgboost", f"{_ROW}, depth 6", "XGBoost inplace_predict", "trees:xgboost_row"),
    Row("trees_row_lightgbm", f"{_ROW}, 31 leaves", "LightGBM predict", "trees:lightgbm_row"),
    Row("trees_xgboost", f"{_BATCH}, depth 6", "XGBoost inplace_predict", "trees:xgboost_batch", pairs=5),
    Row(
        "trees_xgboost_shallow", f"{_BATCH}, depth 3", "XGBoost inplace_predict", "trees:xgboost_batch_shallow", pairs=5
    ),
    Row("trees_lightgbm", f"{_BATCH}, 31 leaves", "LightGBM predict", "trees:lightgbm_batch", pairs=5),
    Row("trees_lightgbm_shallow", f"{_BATCH}, depth 3", "LightGBM predict", "trees:lightgbm_batch_shallow", pairs=5),
    Row(
        "backfill_kline17",
        f"{_BACKFILL}, kline17 float64",
        "pyarrow reading and writing the same columns",
        "backfill:pyarrow_kline17",
        pairs=15,
    ),
    Row(
        "backfill_wide32",
        f"{_BACKFILL}, wide32 float32",
        "pyarrow reading and writing the same columns",
        "backfill:pyarrow_wide32",
        pairs=15,
    ),
    Row("backfill_polars", f"{_BACKFILL}, wide32 float32", "polars, end to end", "backfill:polars_wide32", pairs=5),
)


def row(identifier: str) -> Row:
    """Return the row with this id; raises `KeyError`."""
    return {one.id: one for one in ROWS}[identifier]
