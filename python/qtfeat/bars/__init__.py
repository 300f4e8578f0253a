"""Bars: one schema for every source, checked on entry; defects become a report, not a surprise."""

from __future__ import annotations

from qtfeat.bars.archive import fetch_archive
from qtfeat.bars.fetch_report import FetchReport
from qtfeat.bars.quality import Finding, QualityReport
from qtfeat.bars.read import read_bars, scan_bars
from qtfeat.bars.rest import recent_klines
from qtfeat.bars.rest_files import fetch_recent
from qtfeat.bars.schema import BAR_SCHEMA, KLINE_SCHEMA
from qtfeat.bars.simulate import simulate

__all__ = [
    "BAR_SCHEMA",
    "KLINE_SCHEMA",
    "FetchReport",
    "Finding",
    "QualityReport",
    "fetch_archive",
    "fetch_recent",
    "read_bars",
    "recent_klines",
    "scan_bars",
    "simulate",
]
