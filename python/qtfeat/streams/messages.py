"""From a stream's message to a row: fields by name, flat or as JSON, typed and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtfeat.errors import SchemaError
from qtfeat.streams.kinds import KINDS, Kind
from qtfeat.streams.values import flag, parse_json

Row = tuple[Any, ...]
_JSON = ("data", "payload", "json", "message", "value")
_LAYOUTS = 256

DEFAULT_STREAMS = {
    "market.klines": "klines",
    "market.tick": "ticks",
    "exchange.normalized": "ticks",
    "trade.closed": "trades",
    "market.funding": "funding",
    "market.orderbook": "book",
}


class MessageError(SchemaError):
    """A stream message that is not of its stream's kind; `column` is the field, `value` what it had."""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """How one stream is read.

    Args:
        name: the Redis stream.
        kind: what it carries: `klines`, `ticks`, `trades`, `funding` or `book`.
        fields: our name of a field to its name in the messages; wins over the usual names.
        constants: fields that the messages leave out, such as `{"interval": "1h"}`.

    Raises:
        SchemaError: an unknown kind or field, or a constant that its field cannot have.
    """

    name: str
    kind: str
    fields: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the names."""
        if self.kind not in KINDS:
            raise SchemaError(f"stream {self.name!r}: kind {self.kind!r} is none of {', '.join(KINDS)}")
        known = [f.name for f in KINDS[self.kind].fields]
        for name in [*self.fields, *self.constants]:
            if name not in known:
                raise SchemaError(f"stream {self.name!r}: {self.kind} have no field {name!r}; they have {known}")


def default_streams() -> tuple[StreamSpec, ...]:
    """The streams that are read where none are named."""
    return tuple(StreamSpec(name, kind) for name, kind in DEFAULT_STREAMS.items())


def parse_streams(texts: list[str]) -> tuple[StreamSpec, ...]:
    """Streams as a command line gives them: `market.klines`, or `my.bars=klines` for one of another name.

    Raises:
        SchemaError: a stream whose kind is not known, or one named twice.
    """
    out: dict[str, StreamSpec] = {}
    for given in texts:
        name, _, kind = given.partition("=")
        kind = kind or DEFAULT_STREAMS.get(name, "")
        if not kind or not name:
            raise SchemaError(f"stream {given!r}: say what it carries, as in {name or 'NAME'}=klines ({_kinds()})")
        if name in out:
            raise SchemaError(f"stream {name!r} is named twice")
        out[name] = StreamSpec(name, kind)
    return tuple(out.values())


def load_streams(path: str | Path) -> tuple[StreamSpec, ...]:
    """Streams from a TOML file: `["market.klines"]` with `kind`, `fields` and `constants`.

    Raises:
        SchemaError: a file that is no such TOML.
    """
    import tomllib

    try:
        with Path(path).open("rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SchemaError(f"{path}: {error}") from error
    out = []
    for name, table in tables.items():
        if not isinstance(table, dict) or set(table) - {"kind", "fields", "constants"}:
            raise SchemaError(f"{path}: stream {name!r} is a table with kind, fields and constants")
        kind = table.get("kind", DEFAULT_STREAMS.get(name, ""))
        out.append(StreamSpec(name, kind, table.get("fields", {}), table.get("constants", {})))
    if not out:
        raise SchemaError(f"{path}: no streams in it")
    return tuple(out)


class Parser:
    """Reads the messages of one stream. Remembers how a message of the same field names was read before.

    Args:
        spec: the stream.

    Raises:
        SchemaError: a constant that its field cannot have.
    """

    def __init__(self, spec: StreamSpec) -> None:
        self.spec = spec
        self.kind: Kind = KINDS[spec.kind]
        self._layouts: dict[tuple[Any, ...], _Layout] = {}
        self._constants = {}
        for f in self.kind.fields:
            if f.name in spec.constants:
                try:
                    self._constants[f.name] = f.read(spec.constants[f.name])
                except ValueError as error:
                    value = spec.constants[f.name]
                    raise SchemaError(f"stream {spec.name!r}: constant {f.name} = {value!r}: {error}") from None

    def parse(self, message: Mapping[Any, Any]) -> Row | None:
        """The row of a message: a value per field of the kind, then the fields it does not know, as JSON.

        Args:
            message: names to values, in bytes as Redis has them; or one JSON object under `data` or `payload`.

        Returns:
            The row, times in nanoseconds; None for a bar that has not closed.

        Raises:
            MessageError: malformed.
        """
        message = self._unpacked(message)
        names = tuple(message)
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._layout(names)
            # Hostile messages may have any names: what is remembered is bounded.
            if len(self._layouts) < _LAYOUTS:
                self._layouts[names] = layout
        if layout.only is not None and not self._read(flag, "closed", message[layout.only]):
            return None
        row = [
            self._constants.get(f.name) if key is None else self._value(f, message[key])
            for f, key in zip(self.kind.fields, layout.keys, strict=True)
        ]
        if self.kind.check is not None:
            try:
                self.kind.check({f.name: value for f, value in zip(self.kind.fields, row, strict=True)})
            except ValueError as error:
                raise MessageError(f"{self.spec.name}: {error}") from None
        extra = {_name(key): _plain(message[key]) for key in layout.extra}
        row.append(json.dumps(extra, sort_keys=True, default=str) if extra else None)
        return tuple(row)

    def _value(self, f: Any, value: Any) -> Any:
        if not f.required and value in (b"", "", None, b"null"):
            return None
        return self._read(f.read, f.name, value)

    def _read(self, read: Any, name: str, value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            shown = repr(value)[:80]
            raise MessageError(f"{self.spec.name}: {name} is {shown}: {error}", column=name, value=value) from None

    def _unpacked(self, message: Mapping[Any, Any]) -> Mapping[Any, Any]:
        for name in _JSON:
            data = message.get(name.encode())
            if data is not None and data[:1] == b"{":
                found = self._read(parse_json, name, data)
                rest = {_name(key): value for key, value in message.items() if key != name.encode()}
                inner = found.get(self.kind.nested)
                if isinstance(inner, dict):
                    # The inner object's names win: outside, `E` and `e` are those of the envelope.
                    return {**rest, **{k: v for k, v in found.items() if k != self.kind.nested}, **inner}
                return {**rest, **found}
        return message

    def _layout(self, names: tuple[Any, ...]) -> _Layout:
        by_name = {_name(key): key for key in names}
        keys: list[Any] = []
        for f in self.kind.fields:
            given = self.spec.fields.get(f.name)
            aliases = f.aliases if given is None else (given,)
            key = next((by_name[alias] for alias in aliases if alias in by_name), None)
            if key is None and f.required and f.name not in self._constants:
                have = ", ".join(sorted(by_name))[:200]
                text = f"{self.spec.name}: no field {' or '.join(aliases[:3])}; the message has {have}"
                raise MessageError(text, column=f.name)
            keys.append(key)
        only = next((by_name[name] for name in self.kind.only if name in by_name), None)
        used = {*keys, only}
        return _Layout(tuple(keys), only, tuple(key for key in names if key not in used))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a message of certain field names has what: key per field, key of the flag, keys nobody knows."""

    keys: tuple[Any, ...]
    only: Any
    extra: tuple[Any, ...]


def _name(key: Any) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _kinds() -> str:
    return ", ".join(KINDS)
