"""Backfill: compared with each peer, then timed in pairs and held to its floor."""

from __future__ import annotations

from collections.abc import Callable

from bench.rows import Row


def test_floor(row: Row, run_row: Callable[[Row], None]) -> None:
    run_row(row)
