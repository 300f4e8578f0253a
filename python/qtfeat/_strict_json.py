"""JSON that is not trusted: size bounded, no NaN, no infinity, no key twice, and one canonical way to write it."""

from __future__ import annotations

import json
import math
from typing import Any

MAX_BYTES = 16 << 20


def parse(data: bytes, *, limit: int = MAX_BYTES) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: not UTF-8, not JSON, longer than `limit`, nested too deeply, NaN or infinity, or a key twice.
    """
    if len(data) > limit:
        raise ValueError(f"{len(data):,} bytes are more than the {limit:,} that are read")
    try:
        return json.loads(
            data.decode("utf-8"), parse_constant=_constant, parse_float=_finite, object_pairs_hook=_unique
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def write(value: Any) -> bytes:
    """Return a value as JSON: keys sorted, floats in full precision, a newline at the end.

    Raises:
        ValueError: NaN or infinity, or something that JSON has no form for.
    """
    try:
        return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (TypeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:80]!r} occurs twice")
    return out
