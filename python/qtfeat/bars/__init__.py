"""Bars: one schema for every source, checked on entry; defects become a report, not a surprise."""

from __future__ import annotations

from qtfeat.bars.quality import Finding, QualityReport
from qtfeat.bars.read import read_bars, scan_bars
from qtfeat.bars.schema import BAR_SCHEMA
from qtfeat.bars.simulate import simulate

__all__ = ["BAR_SCHEMA", "Finding", "QualityReport", "read_bars", "scan_bars", "simulate"]
