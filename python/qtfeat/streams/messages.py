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
_NOTHING = (b"", "", None, b"null")

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
    """Streams as a command line gives them.

    `market.klines`, or `my.bars=klines` for one of another name; several with commas between.

    Raises:
        SchemaError: a stream whose kind is not known, or one named twice.
    """
    out: dict[str, StreamSpec] = {}
    for given in ",".join(texts).split(","):
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
        names = tuple(message)
        layout = self._layouts.get(names) or self._layout(names)
        if layout.json is not None and message[layout.json][:1] == b"{":
            message = self._unpacked(message, layout.json)
            names = tuple(message)
            layout = self._layouts.get(names) or self._layout(names)
        if layout.missing:
            raise MessageError(layout.missing, column=layout.column)
        if layout.only is not None and not self._read(flag, "closed", message[layout.only]):
            return None
        row = list(layout.row)
        name, value = "", None
        try:
            for i, name, key, read, required in layout.steps:  # noqa: B007 - for the error
                value = message[key]
                if required or value not in _NOTHING:
                    row[i] = read(value)
        except ValueError as error:
            raise self._malformed(name, value, error) from None
        if self.kind.check is not None:
            try:
                self.kind.check({f.name: value for f, value in zip(self.kind.fields, row, strict=False)})
            except ValueError as error:
                raise MessageError(f"{self.spec.name}: {error}") from None
        if layout.extra:
            extra = {_name(key): _plain(message[key]) for key in layout.extra}
            row[-1] = json.dumps(extra, sort_keys=True, default=str)
        return tuple(row)

    def _read(self, read: Any, name: str, value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise self._malformed(name, value, error) from None

    def _malformed(self, name: str, value: Any, error: ValueError) -> MessageError:
        return MessageError(f"{self.spec.name}: {name} is {repr(value)[:80]}: {error}", column=name, value=value)

    def _unpacked(self, message: Mapping[Any, Any], key: bytes) -> Mapping[Any, Any]:
        found = self._read(parse_json, _name(key), message[key])
        rest = {_name(other): value for other, value in message.items() if other != key}
        inner = found.get(self.kind.nested)
        if isinstance(inner, dict):
            # The inner object's names win: outside, `E` and `e` are those of the envelope.
            return {**rest, **{k: v for k, v in found.items() if k != self.kind.nested}, **inner}
        return {**rest, **found}

    def _layout(self, names: tuple[Any, ...]) -> _Layout:
        by_name = {_name(key): key for key in names}
        steps: list[Step] = []
        row: list[Any] = []
        missing = column = ""
        for i, f in enumerate(self.kind.fields):
            given = self.spec.fields.get(f.name)
            aliases = f.aliases if given is None else (given,)
            key = next((by_name[alias] for alias in aliases if alias in by_name), None)
            row.append(self._constants.get(f.name))
            if key is not None:
                steps.append((i, f.name, key, f.read, f.required))
            elif f.required and f.name not in self._constants and not missing:
                have = ", ".join(sorted(by_name))[:200]
                missing = f"{self.spec.name}: no field {' or '.join(aliases[:3])}; the message has {have}"
                column = f.name
        only = next((by_name[name] for name in self.kind.only if name in by_name), None)
        used = {*(step[2] for step in steps), only}
        extra = tuple(key for key in names if key not in used)
        packed = next((name.encode() for name in _JSON if name.encode() in names), None)
        layout = _Layout(tuple(steps), (*row, None), only, extra, packed, missing, column)
        # Hostile messages may have any names: what is remembered is bounded.
        if len(self._layouts) < _LAYOUTS:
            self._layouts[names] = layout
        return layout


Step = tuple[int, str, Any, Any, bool]
"""Position in the row, name, key in the message, reader, required."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a message of certain field names has what.

    Attributes:
        steps: the fields that are there.
        row: constants and nulls, to begin with.
        only: key of the flag that tells whether a bar has closed.
        extra: keys that nobody knows.
        json: key that may hold the message as JSON.
        missing: what is wrong if this is the message itself; empty if nothing.
        column: the field that is missing.
    """

    steps: tuple[Step, ...]
    row: tuple[Any, ...]
    only: Any
    extra: tuple[Any, ...]
    json: bytes | None
    missing: str
    column: str


def _name(key: Any) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _kinds() -> str:
    return ", ".join(KINDS)
