"""Sizes of the slow suites: whole with QTFEAT_SOAK=1 (`make soak`), else a fiftieth of it (`make test`)."""

from __future__ import annotations

import os

SOAK = os.environ.get("QTFEAT_SOAK", "0") not in ("", "0")


def scaled(whole: int, least: int = 1) -> int:
    """Return `whole` in a soak, else a fiftieth of it but at least `least`."""
    return whole if SOAK else max(whole // 50, least)
