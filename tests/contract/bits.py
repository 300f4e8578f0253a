"""Equality of bits, with a message that names column, row and both values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def assert_same_bits(
    expected: npt.NDArray[np.floating],
    found: npt.NDArray[np.floating],
    columns: Sequence[str],
    where: object,
) -> None:
    """Compare two (F, n) matrices bit for bit."""
    assert expected.dtype == found.dtype, where
    assert expected.shape == found.shape, (where, expected.shape, found.shape)
    kind = np.uint64 if expected.dtype == np.float64 else np.uint32
    differs = np.ascontiguousarray(expected).view(kind) != np.ascontiguousarray(found).view(kind)
    if differs.any():
        which = np.flatnonzero(differs.any(axis=1))
        column, row = (int(i) for i in np.argwhere(differs)[0])
        names = ", ".join(columns[i] for i in which[:8])
        raise AssertionError(
            f"{where}: {int(differs.sum())} values differ in {len(which)} columns ({names}); first: {columns[column]}"
            f" at row {row}: expected {expected[column, row]!r}, found {found[column, row]!r}"
        )
