"""The one bar schema, and how the columns of a source are matched to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from qtfeat.errors import SchemaError

PRICES = ("open", "high", "low", "close")
VALUES = (*PRICES, "volume")

BAR_SCHEMA = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("open_time", pa.timestamp("ms", tz="UTC")),
        *(pa.field(name, pa.float64()) for name in VALUES),
    ]
)


def with_extras(extras: Sequence[str]) -> pa.Schema:
    """Return the bar schema followed by extra float64 columns."""
    return pa.schema([*BAR_SCHEMA, *(pa.field(name, pa.float64()) for name in extras)])


# Best name first: a file with both `unix` and `date` is read by the number, which needs no parsing.
ALIASES: dict[str, tuple[str, ...]] = {
    "open_time": ("open_time", "opentime", "timestamp", "unix", "time", "ts", "date", "datetime", "t"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v", "base_volume"),
    "symbol": ("symbol", "ticker", "pair", "instrument"),
}

# As the Binance Vision archive documents them; the last six are not read.
KLINE_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)


def normal(name: str) -> str:
    """Return a column name as the aliases spell it: lower case, words joined by `_`."""
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def match_columns(
    names: Iterable[str],
    where: str,
    given: Mapping[str, str] | None = None,
    symbol: str | None = None,
    extras: Sequence[str] = (),
) -> dict[str, str]:
    """Match the columns of a source to the bar schema.

    Args:
        names: the source's column names.
        where: the file (and line) for the error text.
        given: the caller's own map from bar column to source column; it wins.
        symbol: tells which of `Volume BTC` and `Volume USD` counts the base asset.
        extras: further columns that must be there, by these names.

    Returns:
        A map from bar column to source column, extras included; `symbol` is missing when the source has none.

    Raises:
        SchemaError: a bar column has no source column, or more than one could be it.
    """
    names = list(names)
    found = dict(given or {})
    for wanted, source in found.items():
        if wanted not in BAR_SCHEMA.names or source not in names:
            raise SchemaError(
                f"{where}: the column map says {wanted!r} is {source!r}, but the bar columns are "
                f"{', '.join(BAR_SCHEMA.names)} and the file has {', '.join(map(repr, names))}"
            )
    by_normal: dict[str, str] = {}
    for name in names:
        by_normal.setdefault(normal(name), name)
    for wanted, aliases in ALIASES.items():
        if wanted not in found:
            match = next((by_normal[alias] for alias in aliases if alias in by_normal), None)
            if match is not None:
                found[wanted] = match
    if "volume" not in found:
        _match_volume(by_normal, found, where, symbol)
    missing = [name for name in BAR_SCHEMA.names if name not in found and name != "symbol"]
    if missing:
        raise SchemaError(_missing_text(where, missing, names, by_normal))
    absent = [name for name in extras if name not in names]
    if absent:
        text = f"no column {', '.join(map(repr, absent))}, which the features need; found {', '.join(map(repr, names))}"
        raise SchemaError(f"{where}: {text}", column=absent[0])
    return found | {name: name for name in extras}


def _match_volume(by_normal: Mapping[str, str], found: dict[str, str], where: str, symbol: str | None) -> None:
    """Pick the one `volume_<asset>` column; of several, the one of the symbol's base asset."""
    candidates = {name: source for name, source in by_normal.items() if name.startswith("volume_")}
    if len(candidates) > 1 and symbol:
        base = symbol.lower()
        of_base = {n: s for n, s in candidates.items() if base.startswith(n.removeprefix("volume_"))}
        candidates = of_base or candidates
    if len(candidates) == 1:
        found["volume"] = next(iter(candidates.values()))
    elif candidates:
        raise SchemaError(
            f"{where}: {', '.join(map(repr, candidates.values()))} could each be the volume; "
            'say which, as in columns={"volume": "..."}'
        )


def _missing_text(where: str, missing: list[str], names: list[str], by_normal: Mapping[str, str]) -> str:
    """Say what is missing and what to do about it."""
    text = f"{where}: not OHLCV bars: no column for {', '.join(missing)}; found {', '.join(map(repr, names))}. "
    if any(name in by_normal for name in ("price", "tradeid", "trade_id", "quantity", "amount")):
        return text + "These look like single trades: build bars from them first."
    return text + 'Name the columns, as in columns={"open_time": "...", "open": "..."}.'


def symbol_from_name(stem: str) -> str:
    """Return the symbol in a file name such as `BTCUSDT-1h-2024-12`, `BTCUSDT_1h` or `BTCUSDT`."""
    dated = re.match(r"^(.+?)[-_]\d+(?:s|m|h|d|w|mo)(?:[-_]\d{4}.*)?$", stem, flags=re.IGNORECASE)
    return dated.group(1) if dated else stem
