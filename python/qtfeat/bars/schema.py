"""The one bar schema, and how the columns of a source are matched to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


# As the Binance Vision archive and the REST API have them.
KLINE_COLUMNS = (
    *("open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count"),
    *("taker_buy_volume", "taker_buy_quote_volume", "ignore"),
)
_KLINE_TYPES = {"close_time": pa.timestamp("ms", tz="UTC"), "count": pa.int64()}
KLINE_SCHEMA = pa.schema(
    [*BAR_SCHEMA, *(pa.field(name, _KLINE_TYPES.get(name, pa.float64())) for name in KLINE_COLUMNS[6:])]
)


def bar_schema(extras: Sequence[str] = (), *, kline_columns: bool = False) -> pa.Schema:
    """Return the bar schema, or that of klines, followed by extra float64 columns."""
    start = KLINE_SCHEMA if kline_columns else BAR_SCHEMA
    return pa.schema([*start, *(pa.field(name, pa.float64()) for name in extras if name not in start.names)])


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

KLINE_ALIASES: dict[str, tuple[str, ...]] = {
    "close_time": ("close_time", "closetime"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "quotevolume"),
    "count": ("count", "trades", "number_of_trades", "num_trades", "trade_count"),
    "taker_buy_volume": ("taker_buy_volume", "taker_buy_base_asset_volume", "taker_buy_base_volume"),
    "taker_buy_quote_volume": ("taker_buy_quote_volume", "taker_buy_quote_asset_volume"),
    "ignore": ("ignore",),
}


def normal(name: str) -> str:
    """Return a column name as the aliases spell it: lower case, words joined by `_`."""
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def match_columns(
    names: Iterable[str],
    where: str,
    given: Mapping[str, str] | None = None,
    symbol: str | None = None,
    extras: Sequence[str] = (),
    *,
    kline_columns: bool = False,
) -> dict[str, str]:
    """Match the columns of a source to the bar schema.

    Args:
        names: the source's column names.
        where: the file (and line) for the error text.
        given: the caller's own map from bar column to source column; it wins.
        symbol: tells which of `Volume BTC` and `Volume USD` counts the base asset.
        extras: further columns that must be there, by these names.
        kline_columns: the further columns of a kline must be there too.

    Returns:
        A map from bar column to source column, extras included; `symbol` is missing when the source has none.

    Raises:
        SchemaError: a bar column has no source column, or more than one could be it.
    """
    names = list(names)
    schema = bar_schema(kline_columns=kline_columns)
    found = dict(given or {})
    _refuse_unknown(found, names, schema.names, where)
    by_normal: dict[str, str] = {}
    for name in names:
        by_normal.setdefault(normal(name), name)
    for wanted, aliases in (ALIASES | (KLINE_ALIASES if kline_columns else {})).items():
        if wanted not in found:
            match = next((by_normal[alias] for alias in aliases if alias in by_normal), None)
            if match is not None:
                found[wanted] = match
    if "volume" not in found:
        _match_volume(by_normal, found, where, symbol)
    twice = [source for source in found.values() if names.count(source) > 1]
    if twice:
        raise SchemaError(f"{where}: there is more than one column {twice[0]!r}; remove or rename one", column=twice[0])
    missing = [name for name in schema.names if name not in found and name not in ("symbol", "ignore")]
    if missing:
        raise SchemaError(_missing_text(where, missing, names, by_normal))
    absent = [name for name in extras if name not in names]
    if absent:
        text = f"no column {', '.join(map(repr, absent))}, which the features need; found {', '.join(map(repr, names))}"
        raise SchemaError(f"{where}: {text}", column=absent[0])
    return found | {name: name for name in extras if name not in found}


def _refuse_unknown(given: Mapping[str, str], names: Sequence[str], targets: Sequence[str], where: str) -> None:
    """A column map must go from bar columns to columns that are there."""
    for wanted, source in given.items():
        if wanted not in targets or source not in names:
            raise SchemaError(
                f"{where}: the column map says {wanted!r} is {source!r}, but the bar columns are "
                f"{', '.join(targets)} and the file has {', '.join(map(repr, names))}"
            )


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
        return text + "These look like single trades: build bars from them first, with read_trades and time_bars."
    return text + 'Name the columns, as in columns={"open_time": "...", "open": "..."}.'


_INTERVAL = r"\d+(?:s|mo|m|h|d|w)"


@dataclass(frozen=True, slots=True)
class Origin:
    """What the path of a file says about its bars: the name of the file, and folders such as `symbol=BTCUSDT`.

    Attributes:
        symbol: from the folder, else from the file name.
        interval: such as `1h`; empty where neither says.
        market: such as `spot` or `futures/um`; empty where the path does not say.
    """

    symbol: str
    interval: str
    market: str


def origin_of(path: Path, stem: str) -> Origin:
    """Read a path such as `BTCUSDT-1h-2024-12.zip` or `market=spot/symbol=BTCUSDT/interval=1h/2024-12.parquet`."""
    folders = dict(part.split("=", 1) for part in path.parts[:-1] if "=" in part)
    named = re.match(rf"^(.+?)[-_]({_INTERVAL})(?:[-_]\d{{4}}.*)?$", stem, flags=re.IGNORECASE)
    market = re.search(r"(?:^|/)data/(spot|futures/um|futures/cm)/", path.as_posix())
    return Origin(
        symbol=folders.get("symbol") or (named[1] if named else stem),
        interval=folders.get("interval") or (named[2].lower() if named else ""),
        market=folders.get("market") or (market[1] if market else ""),
    )
