"""Redis streams, lossless: into the lake's archive, and through the serving engine."""

from __future__ import annotations

from qtfeat.streams.archive import StreamArchive, bars_into_lake, read_stream
from qtfeat.streams.consumer import Consumer, Entry, Handler, Settings
from qtfeat.streams.messages import MessageError, Parser, StreamSpec, default_streams, load_streams, parse_streams

__all__ = [
    "Consumer",
    "Entry",
    "Handler",
    "MessageError",
    "Parser",
    "Settings",
    "StreamArchive",
    "StreamSpec",
    "bars_into_lake",
    "default_streams",
    "load_streams",
    "parse_streams",
    "read_stream",
]
