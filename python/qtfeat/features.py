"""Feature sets, and the computation of features from tables and windows of bars."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from qtfeat import _core, _tables
from qtfeat._times import array_ns, interval_ns, to_ns, unit_ns
from qtfeat.errors import FeatureSpecError, SchemaError

__all__ = [
    "FeatureSet",
    "catalog",
    "compute",
    "compute_batches",
    "cpu",
    "release_memory",
    "sequences",
    "windows",
    "windows_at",
]

Numerics = Literal["safe", "talib", "legacy"]
OnBad = Literal["raise", "null", "reset"]
OnGap = Literal["ignore", "raise", "reset"]
FILL = "ffill_bfill_zero"
_OHLCV = ("open", "high", "low", "close", "volume")


class FeatureSet:
    """A compiled, immutable set of features.

    Args:
        specs: features, each `indicator(args, key=value)`, `indicator(args).output` or `name = expression`.
        numerics: arithmetic profile: "safe" (finite by construction), "talib" (seeds and warm-up as TA-Lib)
            or "legacy" (the formulas of the engine this one replaces).
        eps: what the legacy profile adds to denominators.
        fill: "ffill_bfill_zero" or None; a step after the graph that only the legacy profile has, where it is
            the default. It is not causal: streams and record batches refuse a set that has it.
        name: a name for messages; not part of the fingerprint.

    Raises:
        FeatureSpecError: a spec that cannot be built; the message points at the character.
        SchemaError: an unknown profile or fill.

    Example:
        >>> fs = FeatureSet(["rsi(14)", "trend = (close - ema(close,50)) / atr(14)"])
        >>> fs.columns
        ['rsi', 'trend']
        >>> fs.warmup
        {'rsi': 14, 'trend': 49}
    """

    __slots__ = ("_core", "_describe", "_fault", "columns", "eps", "fill", "name", "numerics", "specs")

    def __init__(
        self,
        specs: Iterable[str],
        numerics: Numerics = "safe",
        eps: float = 1e-8,
        *,
        fill: str | None = "default",
        name: str | None = None,
        _fault: str | None = None,
    ) -> None:
        listed = [specs] if isinstance(specs, str) else list(specs)
        if not all(isinstance(s, str) for s in listed):
            raise FeatureSpecError("specs must be texts, such as 'rsi(14)'")
        if fill == "default":
            fill = FILL if numerics == "legacy" else None
        if fill not in (None, FILL) or (fill and numerics != "legacy"):
            raise SchemaError(f"fill must be None, or {FILL!r} with numerics='legacy', not {fill!r}")
        self._core = _core.FeatureSet(listed, numerics, float(eps), fill is not None, _fault)
        self.specs: tuple[str, ...] = tuple(listed)
        self.numerics: str = numerics
        self.eps: float = float(eps)
        self.fill: str | None = fill
        self.name: str | None = name
        self.columns: list[str] = self._core.columns
        self._describe: list[dict[str, Any]] | None = None
        self._fault = _fault

    @classmethod
    def load(cls, name: str, **options: Any) -> FeatureSet:
        """A set shipped with the package: "kline17", "trade14", "seq8" or "wide32".

        Raises SchemaError for another name.
        """
        folder = resources.files("qtfeat") / "sets"
        names = sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".toml"))
        if name not in names:
            raise SchemaError(f"no feature set {name!r}; shipped are: {', '.join(names)}")
        return cls._parse((folder / f"{name}.toml").read_text(encoding="utf-8"), f"{name}.toml", options)

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> FeatureSet:
        """A set from a TOML file with `features = [...]` and, if wanted, `name`, `numerics`, `eps`, `fill`.

        Raises SchemaError when the file is not such a TOML, FeatureSpecError for a bad spec.
        """
        return cls._parse(Path(path).read_text(encoding="utf-8"), str(path), {})

    @classmethod
    def _parse(cls, text: str, where: str, options: dict[str, Any]) -> FeatureSet:
        try:
            toml = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SchemaError(f"{where}: not valid TOML: {error}") from None
        unknown = set(toml) - {"name", "description", "features", "numerics", "eps", "fill"}
        if unknown:
            raise SchemaError(f"{where}: unknown key {sorted(unknown)[0]!r}")
        features = toml.get("features")
        if not isinstance(features, list) or not all(isinstance(f, str) for f in features):
            raise SchemaError(f"{where}: features = [...] must be a list of texts")
        if not isinstance(toml.get("eps", 1e-8), float | int):
            raise SchemaError(f"{where}: eps must be a number")
        given: dict[str, Any] = {k: toml[k] for k in ("name", "numerics", "eps") if k in toml}
        if "fill" in toml:
            given["fill"] = toml["fill"] or None
        return cls(features, **(given | options))

    def to_toml(self, path: str | os.PathLike[str] | None = None) -> str:
        """The set as TOML text that `from_toml` reads back to the same fingerprint; written to `path` if given."""

        def quote(s: str) -> str:
            return '"' + s.replace("\\", "\\\\").replace('"', '\\"') + '"'

        lines = [f"name = {quote(self.name)}"] if self.name else []
        lines += [f"numerics = {quote(self.numerics)}", f"eps = {self.eps!r}"]
        if self.numerics == "legacy":
            lines.append(f"fill = {quote(self.fill or '')}")
        lines += ["features = [", *(f"    {quote(s)}," for s in self.specs), "]", ""]
        text = "\n".join(lines)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical set, the profile and the numerics version."""
        return self._core.fingerprint

    @property
    def warmup(self) -> dict[str, int]:
        """Leading null rows of each column, given valid bars."""
        return dict(zip(self.columns, self._core.warmup, strict=True))

    @property
    def extras(self) -> list[str]:
        """Names of the extra columns the set reads, in the order in which streams take them."""
        return self._core.extras

    @property
    def needs_time(self) -> bool:
        """True if the set has calendar features."""
        return self._core.needs_time

    @property
    def inputs(self) -> list[str]:
        """The bar columns the set reads."""
        return self._core.inputs

    def bars_for(self, digits: float = 4) -> int:
        """Bars until every feature has forgotten the start of its series to `digits` digits."""
        if not 0 < digits <= 16:
            raise SchemaError(f"digits must be in 0..16, not {digits}")
        return self._core.bars_for(digits)

    def describe(self) -> list[dict[str, Any]]:
        """One dict per column: name, canonical spec, unit, min, max, neutral, warmup, memory, scale_free, ..."""
        if self._describe is None:
            self._describe = self._core.describe()
        return [dict(row) for row in self._describe]

    def __len__(self) -> int:
        return len(self.columns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSet) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        return f"FeatureSet({name}{len(self)} columns, {self.numerics}, {self.fingerprint[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.specs, self.numerics, self.eps, self.fill, self.name)


def _rebuild(specs: Sequence[str], numerics: Numerics, eps: float, fill: str | None, name: str | None) -> FeatureSet:
    return FeatureSet(specs, numerics, eps, fill=fill, name=name)


def as_feature_set(fs: FeatureSet | str | Iterable[str]) -> FeatureSet:
    """A feature set from one, from the name of a shipped one, or from specs."""
    if isinstance(fs, FeatureSet):
        return fs
    if isinstance(fs, str):
        return FeatureSet.load(fs)
    return FeatureSet(fs)


def thread_count(threads: int | None) -> int:
    """`threads`, or the processors this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise SchemaError(f"threads must be a whole number of at least 1, not {threads!r}")
    return threads


def _options(
    time_unit: str | None, on_bad: str, on_gap: str, interval: Any, threads: int | None, dtype: Any
) -> dict[str, Any]:
    return {
        "time_unit_ns": unit_ns(time_unit),
        "on_bad": on_bad,
        "on_gap": on_gap,
        "interval_ns": None if interval is None else interval_ns(interval),
        "threads": thread_count(threads),
        "dtype": dtype if isinstance(dtype, str) else np.dtype(dtype).name,
    }


def compute(
    bars: Any,
    fs: FeatureSet | str | Iterable[str],
    *,
    by: str | None = None,
    time: str | None = None,
    dtype: str = "float64",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    threads: int | None = None,
    keep: Sequence[str] = (),
    out: npt.NDArray[Any] | None = None,
    fill: str | None = "default",
) -> Any:
    """Features of a table of bars, one row out for each row in, in the caller's order.

    Args:
        bars: an Arrow table of any library (pyarrow, polars, pandas, duckdb, arro3, ...) or a dict of NumPy
            arrays, with columns open, high, low, close, volume (those the set reads; all that are there are
            checked) and the extra columns the set names. Floats and integers of any width.
        fs: the feature set, or the name of a shipped one, or specs.
        by: column that tells symbols apart; each symbol is a series of its own.
        time: timestamp column; must strictly increase within a symbol.
        dtype: "float64", or "float32" (which saturates).
        on_bad: a bad bar is an error ("raise"), a null row ("null"), or a null row after which a new series
            starts ("reset").
        on_gap: what to do where two times are further apart than `interval` ("ignore", "raise", "reset").
        interval: distance between bars: "5m", "1h", a timedelta.
        time_unit: unit of an integer time column: "s", "ms", "us", "ns".
        threads: at most so many threads over symbols; None takes all processors.
        keep: further columns of `bars` that come along.
        out: C-contiguous array (F, n) of `dtype` to write into; the result is then that array.
        fill: only for sets that have a fill (legacy): None leaves it out of this call.

    Returns:
        The caller's kind: pyarrow table, polars frame, pandas frame (index kept), dict of NumPy arrays; anything
        else gets an object with `__arrow_c_stream__`. `by`, `time` and `keep` come first. No value is an Arrow
        null, and NaN in NumPy and pandas.

    Raises:
        SchemaError, BadBarError, UnsortedError, GapError: with `.column`, `.row` and `.value`.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    carry = list(
        dict.fromkeys([c for c in (by, time) if c is not None] + ([keep] if isinstance(keep, str) else list(keep)))
    )
    for name in carry:
        if name in fs.columns:
            raise SchemaError(f"column {name!r} would come along, but a feature has that name: rename one", column=name)
    step = fs.fill if fill == "default" else fill
    return _tables.compute(bars, fs, by, time, carry, options, out, step)


def compute_batches(
    reader: Any,
    fs: FeatureSet | str | Iterable[str],
    *,
    by: str | None = None,
    time: str | None = None,
    dtype: str = "float64",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    keep: Sequence[str] = (),
) -> Iterator[Any]:
    """Features of record batches that follow each other, in constant memory; one pyarrow batch out for each in.

    Each symbol's series goes on from batch to batch, with the bits of one pass over everything. `reader` is
    anything that speaks the Arrow C stream interface, or an iterable of record batches. Other arguments, and
    errors, as in `compute`; rows in errors count from the first batch.
    """
    fs = as_feature_set(fs)
    if fs.fill is not None:
        raise SchemaError(f"fill={fs.fill!r} needs the whole table: compute_batches takes FeatureSet(..., fill=None)")
    options = _options(time_unit, on_bad, on_gap, interval, 1, dtype)
    carry = list(
        dict.fromkeys([c for c in (by, time) if c is not None] + ([keep] if isinstance(keep, str) else list(keep)))
    )
    return _tables.batches(reader, _core.Batches(fs._core, by, time, carry, options))


def windows(
    ohlcv: npt.ArrayLike,
    fs: FeatureSet | str | Iterable[str],
    *,
    time: npt.ArrayLike | None = None,
    extra: npt.ArrayLike | None = None,
    last: Literal["only", "all"] = "only",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Features of many windows of bars, each a series of its own.

    Args:
        ohlcv: (n, T, 5) float64: open, high, low, close, volume.
        fs: the feature set.
        time: (n, T) datetime64, or integers with `time_unit`.
        extra: (n, T, E) values of the set's extra columns, in the order of `fs.extras`; (n, T) for one.
        last: "only" gives the features of each window's last row, "all" those of every row.
        on_bad: as in `compute`; so are `on_gap`, `interval`, `time_unit`, `dtype` and `threads`.

    Returns:
        (n, F), or (n, T, F) with last="all"; NaN where there is no value.

    Raises:
        SchemaError, BadBarError, UnsortedError, GapError: with `.window`, and `.row` inside it.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    bars = _cube(ohlcv, "windows must be (n, T, 5): open, high, low, close, volume")
    times = None if time is None else array_ns(time, options["time_unit_ns"])
    if extra is not None:
        extra = np.asarray(extra, dtype=np.float64)
        extra = _cube(extra[:, :, None] if extra.ndim == 2 else extra, "extra must be (n, T, E)")
    every = _last(last) or fs.fill is not None
    result = _core.windows(fs._core, bars, extra, times, options, every)
    if fs.fill is not None:
        result = _tables.fill_windows(result)
        result = result if last == "all" else np.ascontiguousarray(result[:, -1, :])
    return result


def windows_at(
    bars: Any,
    fs: FeatureSet | str | Iterable[str],
    ends: npt.ArrayLike,
    *,
    length: int = 100,
    time: str | None = None,
    last: Literal["only", "all"] = "only",
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
) -> npt.NDArray[Any]:
    """Features of windows of one symbol's history; the given row or timestamp is the last in its window.

    Args:
        bars: the history, as in `compute`.
        fs: the feature set.
        ends: row numbers, or timestamps (then `time` names the column they are looked up in).
        length: rows of a window.
        time: timestamp column.
        last: as in `windows`; so are the arguments after it.

    Returns:
        (n, F), or (n, length, F) with last="all".

    Raises:
        SchemaError: an end that is no row, or has fewer than `length` rows up to it.
    """
    fs = as_feature_set(fs)
    options = _options(time_unit, on_bad, on_gap, interval, threads, dtype)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise SchemaError(f"length must be a whole number of at least 1, not {length!r}")
    columns = _tables.arrays(bars, [*_OHLCV, *fs.extras, *([time] if time else [])])
    times = array_ns(columns[time], options["time_unit_ns"], time) if time else None
    rows = _ends(ends, times, time)
    ohlcv = [np.ascontiguousarray(columns[c], dtype=np.float64) for c in _OHLCV]
    extras = [np.ascontiguousarray(columns[c], dtype=np.float64) for c in fs.extras]
    every = _last(last) or fs.fill is not None
    result = _core.windows_at(fs._core, ohlcv, extras, times, rows, length, options, every)
    if fs.fill is not None:
        result = _tables.fill_windows(result)
        result = result if last == "all" else np.ascontiguousarray(result[:, -1, :])
    return result


def sequences(
    bars: Any,
    fs: FeatureSet | str | Iterable[str] = "seq8",
    *,
    length: int = 128,
    time: str | None = None,
    on_bad: OnBad = "raise",
    on_gap: OnGap = "ignore",
    interval: Any = None,
    time_unit: str | None = None,
    dtype: str = "float64",
) -> npt.NDArray[Any]:
    """Features of one symbol as overlapping sequences, a read-only view (n, length, F) without a copy.

    Sequence i is rows i..i+length of the feature table, so i + length - 1 is the row that it ends with, and
    the first sequences hold the NaN of the warm-up. Arguments and errors as in `compute`; SchemaError when
    the table has fewer than `length` rows.
    """
    fs = as_feature_set(fs)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise SchemaError(f"length must be a whole number of at least 1, not {length!r}")
    bars = _tables.held(bars)
    columns = _tables.arrays(bars, _tables.needed(bars, fs, None, time))
    options = _options(time_unit, on_bad, on_gap, interval, 1, dtype)
    matrix = _tables.matrix(columns, fs, time, options)
    f, n = matrix.shape
    if n < length:
        raise SchemaError(f"{n} rows are fewer than length={length}")
    column, row = matrix.strides
    return np.lib.stride_tricks.as_strided(matrix, (n - length + 1, length, f), (row, row, column), writeable=False)


def _cube(array: npt.ArrayLike, message: str) -> npt.NDArray[np.float64]:
    cube = np.asarray(array)
    if cube.ndim != 3:
        raise SchemaError(f"{message}; this has {cube.ndim} axes")
    if cube.dtype.kind not in "fiu":
        raise SchemaError(f"{message}; this has type {cube.dtype}, floats or integers are needed")
    return np.ascontiguousarray(cube, dtype=np.float64)


def _last(last: str) -> bool:
    if last not in ("only", "all"):
        raise SchemaError(f"last must be 'only' or 'all', not {last!r}")
    return last == "all"


def _ends(ends: npt.ArrayLike, times: npt.NDArray[np.int64] | None, time: str | None) -> list[int]:
    array = np.atleast_1d(np.asarray(ends))
    if array.ndim != 1:
        raise SchemaError("ends must be one row or timestamp per window", column="ends")
    if array.size == 0:
        return []
    if array.dtype.kind in "iu":
        return [int(e) for e in array]
    if times is None:
        raise SchemaError("ends are timestamps: name the time column with time=", column="ends")
    if array.dtype.kind == "M":
        wanted = array_ns(array, None, "ends")
    else:
        wanted = np.array([to_ns(e) for e in array.tolist()], dtype=np.int64)
    at = np.searchsorted(times, wanted)
    at = np.minimum(at, max(len(times) - 1, 0))
    missing = np.flatnonzero(times[at] != wanted) if len(times) else np.arange(len(wanted))
    if missing.size:
        i = int(missing[0])
        raise SchemaError(
            f"ends[{i}] = {np.datetime64(int(wanted[i]), 'ns')} is no time in column {time!r}", column="ends"
        )
    return [int(e) for e in at]


def catalog() -> Any:
    """The catalogue: a pyarrow table with one row per output of every indicator, at its defaults.

    Columns: id, output, column, params, unit, min, max (null = unbounded), neutral, warmup, memory (rows, or
    "recursive", or "anchored"), scale_free, formula, source.
    """
    import pyarrow as pa

    names = [
        "id",
        "output",
        "column",
        "params",
        "unit",
        "min",
        "max",
        "neutral",
        "warmup",
        "memory",
        "scale_free",
        "formula",
        "source",
    ]
    rows = _core.catalog_rows()
    kinds: Mapping[str, pa.DataType] = {"min": pa.float64(), "max": pa.float64(), "neutral": pa.float64()}
    return pa.table({n: pa.array([r[n] for r in rows], type=kinds.get(n)) for n in names})


def cpu() -> str:
    """The CPU level in use: "sse2", "avx2", "avx512" or "baseline". `QTFEAT_CPU` forces a lower one."""
    return _core.cpu()


def release_memory() -> int:
    """Gives the output memory kept for the next call back to the system; returns its bytes."""
    return _core.release_memory()
