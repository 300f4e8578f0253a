"""`qtfeat compute`: bars in, features out, one record batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import qtfeat as qf
from qtfeat.bars.files import whole_or_nothing
from qtfeat.bars.read import bar_files, scan_bars
from qtfeat.cli.options import column_map, err, feature_set
from qtfeat.errors import SchemaError
from qtfeat.features import Numerics, OnBad


@dataclass(frozen=True, slots=True)
class Job:
    """What the options of `qtfeat compute` say."""

    source: Path
    target: Path
    set_name: str
    features: tuple[str, ...]
    by: str
    time: str
    numerics: Numerics
    on_bad: OnBad


class _Writer(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


def run_job(job: Job, *, quiet: bool = False) -> int:
    """Compute and write the features of a job.

    Returns:
        The number of rows written.

    Raises:
        QtfeatError: bad input; then the target is as it was before.
    """
    if job.target.suffix.lower() not in (".parquet", ".csv"):
        raise SchemaError(f"{job.target}: features are written to .parquet or .csv")
    if job.target.exists() and job.source.exists() and job.target.samefile(job.source):
        raise SchemaError(f"{job.target}: the features would take the place of the bars; name another file")
    fs = feature_set(job.set_name, list(job.features), job.numerics)
    rows = 0
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("bars"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=quiet or not err.is_terminal,
        transient=True,
    )
    with progress, whole_or_nothing(job.target) as part:
        task = progress.add_task(job.target.name, total=_known_rows(job.source))
        # Not through an Arrow reader: what the bars raise would come out of it as an error of Arrow.
        batches = _batches(job, fs.extras)
        writer: _Writer | None = None
        try:
            for batch in qf.compute_batches(batches, fs, by="symbol", time="open_time", on_bad=job.on_bad):
                if writer is None:
                    writer = _open(part, job.target.suffix.lower(), batch.schema)
                writer.write_batch(batch)
                rows += batch.num_rows
                progress.update(task, completed=rows)
        finally:
            if writer is not None:
                writer.close()
    if not quiet:
        err.print(
            f"{job.target}: {rows:,} rows, {len(fs.columns)} features, fingerprint {fs.fingerprint}", soft_wrap=True
        )
    return rows


def _batches(job: Job, extras: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for part in scan_bars(job.source, columns=column_map(job.by, job.time) or None, extras=extras):
        yield from part.batches


def _known_rows(source: Path) -> int | None:
    """Rows of a Parquet source, from its metadata; other kinds are counted as they come."""
    files = bar_files(source)
    if any(file.suffix.lower() not in (".parquet", ".pq") for file in files):
        return None
    try:
        return sum(int(pq.read_metadata(file).num_rows) for file in files)
    except (pa.ArrowInvalid, OSError):
        return None  # reading will say what is wrong


def _open(path: Path, suffix: str, schema: pa.Schema) -> _Writer:
    if suffix == ".csv":
        writer: _Writer = pa_csv.CSVWriter(path, schema)
    else:
        writer = pq.ParquetWriter(path, schema, compression="zstd")
    return writer
