"""Streams into the serving engine: bars and ticks in, signals out, and nothing lost or counted twice by a crash."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtfeat._times import interval_ns
from qtfeat.errors import QtfeatError, SchemaError, SnapshotError
from qtfeat.serve.engine import Engine
from qtfeat.serve.ingest import ClosedBar
from qtfeat.serve.service import SETTLE_NS, Service
from qtfeat.serve.signal import Signal
from qtfeat.streams.closed_trades import ClosedTrades
from qtfeat.streams.consumer import Entry, Key, acknowledge
from qtfeat.streams.cycles import Cycles
from qtfeat.streams.log import Log, Row
from qtfeat.streams.messages import MessageError, Parser, StreamSpec
from qtfeat.streams.order import place
from qtfeat.streams.publish import fields_of, publish
from qtfeat.streams.tick_bars import TickBars

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)

KINDS = ("klines", "ticks", "trades")
SIGNALS = "ai.signals"
# A tick that far ahead of this clock would close every bar before its time.
_AHEAD_NS = 60 * 10**9
# The server gives ids by a clock that it reads a moment before it answers.
_CLOCK_MS = 10


class Serving:
    """Shows the engine what streams carry, and publishes its signals. A `Handler` of `Consumer`.

    Klines go in as they are; ticks are built into bars of the engine's interval; bars of one open time are one cycle
    of ranking and selection (see `Cycles`). Symbols outside the universe and klines of other intervals are left out.

    A batch is taken, its rows are written to a log and synced, its signals are published, and only then is it
    acknowledged. The engine's snapshots carry along how far they have come. So after a crash the state is that of the
    snapshot and of the rows in the log after it, and what is in neither was not acknowledged and comes again. One
    server per consumer group: its engine must see every message.

    Args:
        service: the running service; its engine keeps a state file.
        streams: klines, ticks or trades.
        folder: where the log and the closed trades go; of this server alone.
        group: consumer group.
        signals: stream that signals go to.
        wait: seconds that a cycle waits for the bars of all symbols.
        grace: seconds, by the times of ticks, that a quiet symbol's bar waits for its own ticks.
        maxlen: about so many signals stay in their stream.
        log_rows: rows in the log before a snapshot makes it empty.

    Raises:
        SchemaError: streams of another kind or none, or an engine without a state file.
        SnapshotError: a damaged log, or a state of another interval.

    Attributes:
        counts: `bars`, `ticks`, `trades`, `repeated_trades`, `other` (not of this universe or interval), `forming`,
            `malformed`, `failed_cycles`, `published`, `known` (signals that the stream had already).
        lag: returns the seconds each stream is behind; set by who runs the consumer.
    """

    def __init__(
        self,
        service: Service,
        streams: Sequence[StreamSpec],
        folder: Path,
        *,
        group: str,
        signals: str = SIGNALS,
        wait: float = 2.0,
        grace: float = 2.0,
        maxlen: int = 1_000_000,
        log_rows: int = 50_000,
    ) -> None:
        wrong = [spec.name for spec in streams if spec.kind not in KINDS]
        if wrong or not streams:
            raise SchemaError(f"serving reads streams of {', '.join(KINDS)}; {wrong or 'none'} given")
        if not service.engine.keeps_state:
            raise SchemaError("streams need an engine with a state file: what is acknowledged must be on the disk")
        self._service, self._group = service, group
        self._parsers = {spec.name: Parser(spec) for spec in streams}
        self._symbols = frozenset(service.engine.symbols)
        self._interval, self._grace = service.engine.interval_ns, grace
        self._signals, self._known = signals, f"{signals}:{service.live.production.name}"
        self._maxlen, self._log_rows = maxlen, log_rows
        self._log, self._trades = Log(folder / "messages.log"), ClosedTrades(folder / "trades")
        self._cycles = Cycles(len(self._symbols), wait)
        self._bars: dict[str, TickBars] = {}
        self._position = 0
        self._rows: list[Row] = []
        self._unacknowledged: set[Key] = set()
        self._outbox: list[dict[str, str]] = []
        self._client: Any = None
        self._worked, self._quiet_ms = False, 0
        self._models = service.live
        self.counts: Counter[str] = Counter()
        self.lag: Callable[[], Mapping[str, Mapping[str, float]]] | None = None
        self._lag_at = 0.0
        with service.between_bars():
            self._begin(service.engine)

    @property
    def tick_counts(self) -> Counter[str]:
        """`late`, `duplicate` and `partial` of all builders of bars, each with `tick_` in front."""
        total = sum((bars.counts for bars in list(self._bars.values())), Counter())
        return Counter({f"tick_{name}": total[name] for name in ("late", "duplicate", "partial")})

    # --- as a handler -------------------------------------------------------------------------------------------

    def connected(self, client: Redis) -> None:
        """Finish what was interrupted: publish and acknowledge what the disk has."""
        self._client = client
        self._publish()
        if self._unacknowledged:
            acknowledge(client, self._group, sorted(self._unacknowledged))
            self._unacknowledged.clear()

    def process(self, entries: Sequence[Entry]) -> dict[Key, str]:
        """Take messages, in the order of their ids, and make them durable."""
        self._worked = True
        failed: dict[Key, str] = {}
        try:
            for entry in sorted(entries, key=place):
                # There already where the disk was full after it was taken.
                if entry.key in self._unacknowledged:
                    continue
                try:
                    row = self._row(entry)
                except MessageError as error:
                    failed[entry.key] = str(error)
                    continue
                if row is not None:
                    with self._service.between_bars():
                        self._live(row)
        finally:
            self._persist()
        self.counts["malformed"] += len(failed)
        return failed

    def acknowledge(self, client: Redis, group: str, entries: Sequence[Entry]) -> None:
        """Publish what came of the messages, then acknowledge them."""
        self._publish()
        acknowledge(client, group, [entry.key for entry in entries])
        self._unacknowledged.difference_update(entry.key for entry in entries)

    def after(self) -> None:
        """Close cycles that wait for nothing more, and keep log and metrics in shape."""
        if self._worked:
            self._worked, self._quiet_ms = False, 0
        elif self._quiet_ms:
            # Nothing came since that moment: whatever comes now has a later id, and would close them too.
            with self._service.between_bars():
                self._advance(self._quiet_ms)
        if self._cycles.waiting and self._client is not None:
            seconds, micros = self._client.time()
            self._quiet_ms = seconds * 1000 + micros // 1000 - _CLOCK_MS
        self._publish()
        # Rows are taken again by the models that they were taken by: others start from a snapshot.
        if self._log.rows >= self._log_rows or self._models is not self._service.live:
            self.save()
        self._measure()

    def save(self) -> None:
        """Let a snapshot cover everything, and empty the log; on a full disk all stays as it is."""
        try:
            with self._service.between_bars():
                self._service.save()
                self._log.clear()
                self._models = self._service.live
        except OSError as error:
            log.warning("no snapshot: %s; the log goes on", error)

    def close(self) -> None:
        """Save, and close the log."""
        self.save()
        self._log.close()

    # --- taking rows --------------------------------------------------------------------------------------------

    def _row(self, entry: Entry) -> Row | None:
        """What the engine needs of a message: stream, id, and values by kind; None for what is left out."""
        parser = self._parsers[entry.stream]
        values = parser.parse(entry.fields)
        ms, seq, _ = place(entry)
        if values is None:
            self.counts["forming"] += 1
            return None
        found = dict(zip((f.name for f in parser.kind.fields), values, strict=False))
        if parser.kind.name == "trades":
            return [entry.stream, ms, seq, "trade", [*values, ms, seq]]
        if found["symbol"] not in self._symbols:
            self.counts["other"] += 1
            return None
        if parser.kind.name == "klines":
            return self._kline(entry, ms, seq, found)
        if found["time"] > self._service.now_ns + _AHEAD_NS:
            raise MessageError(f"{entry.stream}: time is more than a minute ahead", column="time", value=found["time"])
        id_, exchange = found["trade_id"], found["exchange"]
        id_ = f"{exchange}/{id_}" if id_ is not None and exchange is not None else id_
        return [entry.stream, ms, seq, "tick", [found["symbol"], found["time"], found["price"], found["quantity"], id_]]

    def _kline(self, entry: Entry, ms: int, seq: int, found: dict[str, Any]) -> Row | None:
        if interval_ns(found["interval"]) != self._interval:
            self.counts["other"] += 1
            return None
        if found["open_time"] + self._interval > self._service.now_ns + SETTLE_NS:
            self.counts["forming"] += 1
            return None
        five = [found[name] for name in ("open", "high", "low", "close", "volume")]
        return [entry.stream, ms, seq, "bar", [found["symbol"], found["open_time"], five]]

    def _live(self, row: Row) -> None:
        """Take a row that is not on the disk yet."""
        self._before(row)
        before = self._position
        try:
            self._take(row)
        finally:
            if self._position > before:
                self._rows.append(row)

    def _before(self, row: Row) -> None:
        """Let the time of a row close cycles; that of a closed trade says nothing about bars."""
        if row[3] != "trade":
            self._advance(row[1])

    def _take(self, row: Row) -> None:
        """Take a row. A snapshot on the way has either nothing of it, or all of it with what waits for the engine."""
        stream, ms, seq, what, values = row
        if what != "trade" and values[0] not in self._symbols:
            pass  # of a universe that was
        elif what == "bar":
            symbol, time_ns, five = values
            self._cycles.add(ClosedBar(symbol, time_ns, tuple(five)), ms)
        elif what == "tick":
            for symbol, time_ns, five in self._builder(stream).add(*values):
                self._cycles.add(ClosedBar(symbol, time_ns, tuple(five)), ms)  # type: ignore[arg-type]
        elif not self._trades.add(values):
            self.counts["repeated_trades"] += 1
        self.counts[f"{what}s"] += 1
        self._unacknowledged.add((stream, f"{ms}-{seq}"))
        self._position += 1
        self._drain()

    def _advance(self, ms: int) -> None:
        self._cycles.advance(ms)
        self._drain()

    def _drain(self) -> None:
        """Show the engine the cycles that have closed."""
        while (cycle := self._cycles.pop()) is not None:
            try:
                self._service.take(cycle, known_closed=True)
            except QtfeatError:
                self.counts["failed_cycles"] += 1
                log.exception("the engine refused a cycle")

    def _builder(self, stream: str) -> TickBars:
        if stream not in self._bars:
            self._bars[stream] = TickBars(self._interval, self._grace)
        return self._bars[stream]

    # --- what must survive --------------------------------------------------------------------------------------

    def _begin(self, engine: Engine) -> None:
        """Go on where the last process ended: the engine's snapshot, then the rows in the log after it."""
        carried = engine.carried
        if carried:
            try:
                self._position, self._outbox = int(carried["position"]), list(carried["outbox"])
                self._unacknowledged = {(str(stream), str(id_)) for stream, id_ in carried["unacknowledged"]}
                self._cycles.restore(carried["cycles"])
                for stream, state in carried["ticks"].items():
                    self._builder(stream).restore(state)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise SnapshotError(f"the state of the streams is damaged: {error}") from error
        record, flush = engine.on_signals, engine.on_save

        def on_signals(signals: Sequence[Signal]) -> None:
            if record is not None:
                record(signals)
            self._outbox += [fields_of(signal, self._interval) for signal in signals]

        def on_save() -> None:
            if flush is not None:
                flush()
            self._trades.flush()

        engine.on_signals, engine.on_save, engine.carry = on_signals, on_save, self._carry
        self._drain()
        for number, row in self._log.read(self._position):
            self._position = number
            self._before(row)
            self._take(row)

    def _carry(self) -> dict[str, Any]:
        return {
            "position": self._position,
            "unacknowledged": sorted(self._unacknowledged),
            "cycles": self._cycles.state(),
            "ticks": {stream: bars.state() for stream, bars in self._bars.items()},
            "outbox": self._outbox,
        }

    def _persist(self) -> None:
        if self._rows:
            self._log.append(self._position - len(self._rows), self._rows)
            self._rows = []

    def _publish(self) -> None:
        """Publish the signals that wait, also those of bars that came another way."""
        if not self._outbox or self._client is None:
            return
        some = list(self._outbox)
        added = publish(self._client, self._signals, self._known, some, self._maxlen)
        del self._outbox[: len(some)]
        self.counts["published"] += added
        self.counts["known"] += len(some) - added

    def _measure(self) -> None:
        if self.lag is None or time.monotonic() < self._lag_at:
            return
        self._lag_at = time.monotonic() + 2.0
        for stream, facts in self.lag().items():
            self._service.metrics.lag.labels(stream).set(facts["seconds"])
