"""Bars: one schema for every source, checked on entry; defects become a report, not a surprise."""

from __future__ import annotations

from qtfeat.bars.archive import fetch_archive
from qtfeat.bars.asof import join_asof
from qtfeat.bars.fetch_report import FetchReport
from qtfeat.bars.quality import Finding, QualityReport
from qtfeat.bars.read import read_bars, scan_bars
from qtfeat.bars.resample import ResampleReport, resample
from qtfeat.bars.rest import recent_klines
from qtfeat.bars.rest_files import fetch_recent
from qtfeat.bars.sampling import dollar_bars, time_bars, volume_bars
from qtfeat.bars.schema import BAR_SCHEMA, KLINE_SCHEMA
from qtfeat.bars.simulate import simulate
from qtfeat.bars.trades import TRADE_SCHEMA, TradeReport, read_trades

__all__ = [
    "BAR_SCHEMA",
    "KLINE_SCHEMA",
    "TRADE_SCHEMA",
    "FetchReport",
    "Finding",
    "QualityReport",
    "ResampleReport",
    "TradeReport",
    "dollar_bars",
    "fetch_archive",
    "fetch_recent",
    "join_asof",
    "read_bars",
    "read_trades",
    "recent_klines",
    "resample",
    "scan_bars",
    "simulate",
    "time_bars",
    "volume_bars",
]
