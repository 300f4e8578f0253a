"""Signals to a stream, each once in effect: the server remembers the last bar of each symbol that has its signal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from qtfeat.serve.signal import Signal

Fields = Mapping[str, str]

# Times are compared as texts of one length: a Lua number has 53 bits. The script is all or nothing.
_PUBLISH = """
local added = 0
for i = 2, #ARGV do
  local one = cjson.decode(ARGV[i])
  local last = redis.call('HGET', KEYS[2], one[1])
  if not last or last < one[2] then
    local fields = {}
    for k = 3, #one do fields[k - 2] = one[k] end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(fields))
    redis.call('HSET', KEYS[2], one[1], one[2])
    added = added + 1
  end
end
return added
"""
_AT_ONCE = 200
_PLAIN = ("symbol", "side", "source", "reason", "model", "fingerprint", "policy")
_NUMBERS = ("close", "confidence", "score", "drift", "leverage", "notional", "stop", "target")


def fields_of(signal: Signal, interval_ns: int) -> dict[str, str]:
    """The fields of a signal's message: texts, from which `float` makes the same bits; what is None is left out.

    `id` names the signal: symbol, interval and open time of the bar, both in milliseconds.
    """
    open_ms, interval_ms = signal.time_ns // 10**6, interval_ns // 10**6
    out = {"id": f"{signal.symbol}:{interval_ms}:{open_ms}", "open_time": str(open_ms)}
    out |= {"close_time": str(open_ms + interval_ms), "selected": str(int(signal.selected))}
    out |= {name: getattr(signal, name) for name in _PLAIN}
    numbers = {name: getattr(signal, name) for name in _NUMBERS}
    numbers |= dict(zip(("p_sell", "p_hold", "p_buy"), signal.p or (), strict=False))
    return out | {name: repr(float(value)) for name, value in numbers.items() if value is not None}


def publish(client: Any, stream: str, known: str, signals: Sequence[Fields], maxlen: int) -> int:
    """Add signals to a stream, except those of a bar that is not newer than the symbol's last one there.

    Args:
        client: of the server.
        stream: where signals go.
        known: key of the hash that holds the last bar of each symbol.
        signals: what `fields_of` returned, in order of time within each symbol.
        maxlen: about so many messages stay in the stream.

    Returns:
        How many were added.
    """
    added = 0
    for start in range(0, len(signals), _AT_ONCE):
        some = signals[start : start + _AT_ONCE]
        texts = [json.dumps([_name(one), f"{int(one['open_time']):020d}", *_flat(one)]) for one in some]
        added += int(client.eval(_PUBLISH, 2, stream, known, maxlen, *texts))
    return added


def _name(fields: Fields) -> str:
    """Symbol and interval: the part of the id before the time."""
    return fields["id"].rpartition(":")[0]


def _flat(fields: Fields) -> list[str]:
    return [text for pair in fields.items() for text in pair]
