"""What streams carry: the fields of each kind of message, the names they come under, and what makes two the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from qtfeat.streams import values

TIME = pa.timestamp("ns", tz="UTC")
LEVELS = pa.list_(pa.struct([("price", pa.float64()), ("size", pa.float64())]))


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind.

    Attributes:
        name: column in the archive.
        type: its Arrow type.
        read: makes the value from what the message has; ValueError says why it cannot.
        aliases: names it may have in a message, best first.
        required: a message without it is malformed; otherwise it is null.
    """

    name: str
    type: pa.DataType
    read: Callable[[Any], Any]
    aliases: tuple[str, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of message.

    Attributes:
        name: as in the configuration.
        fields: in the order of the archive's columns.
        key: fields that name what the message is about; two messages with the same are the same. Where one of them
            is null, the message's own id is the key.
        time: the field that decides the day.
        folders: fields that decide the folder.
        nested: object inside a JSON message that holds more fields.
        check: raises ValueError for values that do not fit together.
        only: optional flag in the message; where it is false the message is left out (a bar still forming).
    """

    name: str
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    time: str
    folders: tuple[str, ...] = ("symbol",)
    nested: str = "data"
    check: Callable[[Mapping[str, Any]], None] | None = None
    only: tuple[str, ...] = ()
    schema: pa.Schema = field(init=False)

    def __post_init__(self) -> None:
        """Derive the schema of the archive."""
        columns = [pa.field(f.name, f.type) for f in self.fields]
        extra = [pa.field("extra", pa.string()), pa.field("id_ms", pa.int64()), pa.field("id_seq", pa.int64())]
        object.__setattr__(self, "schema", pa.schema([*columns, *extra]))


def _f(name: str, kind: pa.DataType, read: Callable[[Any], Any], *aliases: str, required: bool = True) -> Field:
    return Field(name, kind, read, (name, *aliases), required)


_text, _float, _int = pa.string(), pa.float64(), pa.int64()
_SYMBOL = _f("symbol", _text, values.text, "s", "Symbol", "pair", "asset", "instrument", "ticker")
_EXCHANGE = _f("exchange", _text, values.text, "venue", "source", required=False)


def _kline_fits(row: Mapping[str, Any]) -> None:
    low, high = row["low"], row["high"]
    if not low <= min(row["open"], row["close"]) <= max(row["open"], row["close"]) <= high:
        raise ValueError(f"high {high!r} and low {low!r} do not enclose open and close")


def _trade_fits(row: Mapping[str, Any]) -> None:
    if row["exit_time"] < row["entry_time"]:
        raise ValueError("exit_time is before entry_time")


def _book_fits(row: Mapping[str, Any]) -> None:
    if not row["bids"] and not row["asks"]:
        raise ValueError("neither bids nor asks")


KLINES = Kind(
    "klines",
    (
        _SYMBOL,
        _f("interval", _text, values.interval, "i", "timeframe", "tf"),
        _f("open_time", TIME, values.time, "openTime", "t", "timestamp", "ts", "time", "start"),
        _f("open", _float, values.price, "o", "Open"),
        _f("high", _float, values.price, "h", "High"),
        _f("low", _float, values.price, "l", "Low"),
        _f("close", _float, values.price, "c", "Close"),
        _f("volume", _float, values.volume, "v", "vol", "Volume"),
        _f("quote_volume", _float, values.volume, "q", "quoteVolume", "turnover", required=False),
        _f("count", _int, values.whole, "n", "trades", required=False),
        _f("taker_buy_volume", _float, values.volume, "V", "takerBuyVolume", required=False),
        _f("taker_buy_quote_volume", _float, values.volume, "Q", "takerBuyQuoteVolume", required=False),
    ),
    key=("symbol", "interval", "open_time"),
    time="open_time",
    folders=("symbol", "interval"),
    nested="k",
    check=_kline_fits,
    only=("closed", "is_closed", "isClosed", "x", "final", "confirm"),
)

TICKS = Kind(
    "ticks",
    (
        _EXCHANGE,
        _SYMBOL,
        _f(
            *("time", TIME, values.time, "trade_time", "transaction_time", "TransactionTime", "timestamp", "ts", "T"),
            "EventTime",
        ),
        _f("price", _float, values.price, "p", "Price"),
        _f("quantity", _float, values.quantity, "qty", "amount", "size", "q", "Quantity", "volume"),
        _f("trade_id", _text, values.text, "tradeId", "TradeId", "id", "t", required=False),
        _f("side", _text, values.text, "S", "Side", required=False),
        _f("is_buyer_maker", pa.bool_(), values.flag, "isBuyerMaker", "IsBuyerMarketMaker", "m", required=False),
    ),
    key=("exchange", "symbol", "trade_id"),
    time="time",
)

TRADES = Kind(
    "trades",
    (
        _f("trade_id", _text, values.text, "tradeId", "id", "position_id"),
        _SYMBOL,
        _f("side", _text, values.text, "direction", required=False),
        _f("entry_time", TIME, values.time, "entryTime", "entry_ts", "open_timestamp", "open_date", "opened_at"),
        _f("exit_time", TIME, values.time, "exitTime", "exit_ts", "close_timestamp", "close_date", "closed_at"),
        _f("entry_price", _float, values.price, "entryPrice", "open_rate"),
        _f("exit_price", _float, values.price, "exitPrice", "close_rate"),
        _f("quantity", _float, values.volume, "qty", "amount", "size", required=False),
        _f("leverage", _float, values.number, required=False),
        _f("pnl", _float, values.number, "pnl_usd", "profit_abs", "realized_pnl", required=False),
        _f("pnl_pct", _float, values.number, "pnlPct", required=False),
        _f("fee", _float, values.number, "fees", "commission", required=False),
        _f("exit_reason", _text, values.text, "exitReason", "reason", required=False),
    ),
    key=("trade_id",),
    time="exit_time",
    check=_trade_fits,
)

FUNDING = Kind(
    "funding",
    (
        _EXCHANGE,
        _SYMBOL,
        _f("time", TIME, values.time, "funding_time", "fundingTime", "calc_time", "timestamp", "ts", "T"),
        _f("funding_rate", _float, values.number, "fundingRate", "last_funding_rate", "rate", "r"),
        _f("mark_price", _float, values.price, "markPrice", "p", required=False),
    ),
    key=("exchange", "symbol", "time"),
    time="time",
)

BOOK = Kind(
    "book",
    (
        _EXCHANGE,
        _SYMBOL,
        _f("time", TIME, values.time, "timestamp", "ts", "E", "T"),
        _f("type", _text, values.text, required=False),
        _f("update_id", _int, values.whole, "lastUpdateId", "u", required=False),
        _f("bids", LEVELS, values.levels, "b"),
        _f("asks", LEVELS, values.levels, "a"),
    ),
    key=("exchange", "symbol", "time", "update_id"),
    time="time",
    check=_book_fits,
)

# Fields that may be null in a key without making the message's own id the key: no exchange is one exchange.
NULL_IN_KEY = ("exchange",)
KINDS = {kind.name: kind for kind in (KLINES, TICKS, TRADES, FUNDING, BOOK)}
