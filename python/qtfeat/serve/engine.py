"""The engine in one process: closed bars in, gated signals out. It needs no HTTP and places no orders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qtfeat._times import interval_ns
from qtfeat.errors import BadBarError, SchemaError, SnapshotError
from qtfeat.serve.history import History, by_time
from qtfeat.serve.lane import Lane, Model
from qtfeat.serve.paper import Book, Closed
from qtfeat.serve.policy import Decision, Policy
from qtfeat.serve.signal import Signal, signal_of
from qtfeat.serve.state import decode, encode, write_atomically
from qtfeat.serve.universe import Bars, Universe

Floats = npt.NDArray[np.float64]


class Engine:
    """Signals of a universe of symbols, one closed bar at a time.

    Bars of a symbol must come in order. A bar that is not newer than the symbol's last one is not taken: it counts as
    `duplicate` (same time, same values), `conflict` (same time, other values) or `late`. So whoever replays bars after
    a restart gets no second signal for any. A bar that fails the checks of the features counts as `bad` and, with
    `on_bad="raise"`, is not taken either; the other symbols' bars are. So does one that does not lie a whole number of
    intervals after the last one: `misaligned`. Bars missing between two are counted as `gap` and handled by `on_gap`,
    as in `qf.Stream`.

    Every signal is a function of the bars taken, the model and the policy: no clock is read. A model is stale when the
    bar's close lies past its expiry.

    Args:
        model: the production model.
        symbols: the universe.
        interval: length of a bar, such as `"1h"`.
        policy: how predictions become signals; the shipped one by default.
        shadow: a second model; it sees every bar, and its signals only lie in `shadow_signals`.
        on_bad: `"raise"`, `"null"` or `"reset"`; must be what the model was trained with.
        on_gap: `"ignore"` or `"reset"`; the same.
        state: file of the state; None keeps none.
        snapshot_every: bars between two snapshots.
        history: bars per symbol that are kept in memory, to warm up another model's features in `swap`.

    Raises:
        FingerprintMismatch: the model's features are not those of this package.
        SchemaError: no or doubled symbols, a bad setting.

    Attributes:
        closed: paper positions that ended with the last bars.
        stages: seconds that the last cycle spent in `features`, `predict` (with drift) and `policy`.
        on_signals: called with the signals of each cycle, before any snapshot that covers its bars.
        on_save: called before each snapshot, so that what belongs to the bars before it can be made durable first.
        carry: returns JSON values that each snapshot carries along, for who feeds the engine: how far it has come.
        carried: what the restored snapshot carried; empty without one.
    """

    def __init__(
        self,
        model: Model,
        symbols: Iterable[str],
        *,
        interval: str,
        policy: Policy | None = None,
        shadow: Model | None = None,
        on_bad: str = "raise",
        on_gap: str = "ignore",
        state: str | Path | None = None,
        snapshot_every: int = 500,
        history: int = 1000,
    ) -> None:
        if on_gap not in ("ignore", "reset"):
            raise SchemaError(f"on_gap must be 'ignore' or 'reset', got {on_gap!r}")
        if snapshot_every < 1:
            raise SchemaError(f"snapshot_every must be at least 1, got {snapshot_every}")
        if history < 0:
            raise SchemaError(f"history must be 0 or more bars, got {history}")
        self.policy = policy or Policy()
        self._universe = Universe(symbols, interval_ns(interval))
        self.symbols, self.interval_ns = self._universe.symbols, self._universe.interval_ns
        self._stream = {"on_bad": on_bad, "on_gap": on_gap, "interval": interval}
        self._on_bad = on_bad
        self._lane = Lane(model, self.symbols, **self._stream)
        self._shadow = Lane(shadow, self.symbols, **self._stream) if shadow else None
        self._book = Book(self.policy.settings["select"]["hold_bars"])
        self._features: dict[int, Floats] = {}
        self.history = History(self.symbols, history)
        self._state = None if state is None else Path(state)
        self._every, self._since = snapshot_every, 0
        self.signals: dict[str, Signal] = {}
        self.shadow_signals: dict[str, Signal] = {}
        self.closed: list[Closed] = []
        self.stages: dict[str, float] = {}
        self.on_signals: Callable[[Sequence[Signal]], None] | None = None
        self.on_save: Callable[[], None] | None = None
        self.carry: Callable[[], dict[str, Any]] | None = None
        self.carried: dict[str, Any] = {}

    # --- bars in, signals out -----------------------------------------------------------------------------------

    def on_bar(self, symbol: str, bar: Mapping[str, Any] | Sequence[float], time: Any = None) -> Signal | None:
        """Take one closed bar.

        Args:
            symbol: one of the universe.
            bar: a mapping with open, high, low, close, volume (and `open_time` unless `time` is given), or the five.
            time: open time of the bar.

        Returns:
            Its signal; None if the bar was not taken (see the class).

        Raises:
            SchemaError: an unknown symbol, a field that is missing or no number, no time.
        """
        row, values, time_ns = self._universe.one(symbol, bar, time)
        found = self._take({row: values}, {row: time_ns})
        return found[0] if found else None

    def on_bars(self, ohlcv: npt.ArrayLike, time: Any) -> list[Signal]:
        """Take one closed bar of many symbols: one cycle of ranking and selection.

        Args:
            ohlcv: (S, 5) float64, five NaN for a symbol without a bar now.
            time: open time, one for all or one per symbol.

        Returns:
            Signals of the symbols whose bar was taken, in the order of the universe.
        """
        bars = np.asarray(ohlcv, dtype=np.float64)
        if bars.shape != (len(self.symbols), 5):
            raise SchemaError(f"bars have shape {bars.shape}, expected {(len(self.symbols), 5)}")
        present = np.flatnonzero(~np.isnan(bars).all(axis=1)).tolist()
        times = self._universe.times(time)
        return self._take({row: bars[row].tolist() for row in present}, {row: times[row] for row in present})

    def peek(self, symbol: str, bar: Mapping[str, Any] | Sequence[float], time: Any = None) -> Signal:
        """Return the signal that a forming bar would give if it closed now; nothing changes."""
        row, values, time_ns = self._universe.one(symbol, bar, time)
        if not self._universe.is_new(row, time_ns):
            raise SchemaError(f"{symbol}: the forming bar is not newer than the last closed one")
        bars = {row: values}
        rows = self._lane.peek(*self._universe.block(bars, {row: time_ns}))
        opinions = self._lane.opinions(rows, [row], bars, learn=False)
        decided = self.policy.decide(opinions, halt=self._halt(self._lane, time_ns))
        return signal_of(opinions[0], decided[0], time_ns, self._lane.names, self.policy.hash, forming=True)

    def warm_up(self, bars: Any) -> int:
        """Show the engine history: features and readiness advance, no signal is made and no position opened.

        Args:
            bars: anything Arrow in the bar schema, any symbols (others than the universe are left out), sorted by time
                within each.

        Returns:
            Bars taken.
        """
        table = bars if isinstance(bars, pa.Table) else pa.table(bars)
        before = self.counters["taken"]
        for group, time_ns in by_time(table, self._universe.rows):
            self._push(group, dict.fromkeys(group, time_ns))
        return self.counters["taken"] - before

    # --- what it knows ------------------------------------------------------------------------------------------

    @property
    def counters(self) -> Counter[str]:
        """Events by name: `taken`, `duplicate`, `conflict`, `late`, `misaligned`, `gap`, `bad`, `snapshots`."""
        return self._universe.counters

    @property
    def refused(self) -> dict[str, str]:
        """Symbol to reason, of the bars of the last call that were not taken."""
        return self._universe.refused

    @property
    def model(self) -> Model:
        """The production model."""
        return self._lane.model

    @property
    def shadow(self) -> Model | None:
        """The shadow model."""
        return self._shadow.model if self._shadow else None

    @property
    def positions(self) -> dict[str, Any]:
        """Open paper positions by symbol, as JSON values."""
        return self._book.state()

    @property
    def keeps_state(self) -> bool:
        """Whether there is a state file."""
        return self._state is not None

    def ready(self, digits: float = 4) -> dict[str, bool]:
        """Tell per symbol whether it has seen enough bars for its features to be right to `digits` digits."""
        needed = self.model.features.bars_for(digits=digits)
        return {symbol: seen >= needed for symbol, seen in zip(self.symbols, self._universe.seen, strict=True)}

    def features(self, symbol: str) -> dict[str, float]:
        """Return the features of the symbol's last bar; NaN in warm-up, empty before the first."""
        values = self._features.get(self._universe.row(symbol))
        return {} if values is None else dict(zip(self._lane.columns, values.tolist(), strict=False))

    @property
    def last_times(self) -> dict[str, int | None]:
        """Open time of each symbol's last bar, nanoseconds since 1970 UTC; None before the first."""
        return self._universe.last_times

    @property
    def drift(self) -> dict[str, float]:
        """Drift index by lane: `production`, `shadow`; those without a reference are left out."""
        lanes = {"production": self._lane, "shadow": self._shadow}
        return {name: lane.drift.index for name, lane in lanes.items() if lane is not None and lane.drift is not None}

    # --- another model, another process -------------------------------------------------------------------------

    def swap(self, model: Model, *, shadow: bool = False, history: Any = None) -> None:
        """Put another model in place between two bars.

        With the same features it goes on from the present state. With others its features are warmed up with
        `history` (bars as in `warm_up`), by default with the bars in memory.
        """
        lane = Lane(model, self.symbols, **self._stream)
        old = self._shadow if shadow else self._lane
        donors = [donor for donor in (old, self._lane, self._shadow) if donor is not None]
        same = next((d for d in donors if d.model.fingerprint == lane.model.fingerprint), None)
        if same is not None:
            lane.restore({**same.state(), "model": same.id})
        else:
            helper = Engine(
                model,
                self.symbols,
                interval=str(self._stream["interval"]),
                policy=self.policy,
                on_bad=self._on_bad,
                on_gap=str(self._stream["on_gap"]),
                history=0,
            )
            helper.warm_up(self.history.table() if history is None else history)
            lane.restore(helper._lane.state())
        if shadow:
            self._shadow = lane
        else:
            self._lane = lane
            if same is None:
                self._features = {}

    def drop_shadow(self) -> None:
        """Have no shadow model."""
        self._shadow = None
        self.shadow_signals = {}

    def snapshot(self) -> bytes:
        """Return everything needed to go on in another process, as checksummed bytes."""
        production = self._lane.state()
        shadow = self._shadow.state() if self._shadow else None
        values = {
            **self._universe.state(),
            "book": self._book.state(),
            "carried": self.carry() if self.carry else self.carried,
            "lane": {"model": production["model"], "drift": production["drift"]},
            "shadow": shadow and {"model": shadow["model"], "drift": shadow["drift"]},
        }
        parts = {"lane": production["panel"]}
        if shadow:
            parts["shadow"] = shadow["panel"]
        return encode(values, parts)

    def restore(self, data: bytes) -> None:
        """Go on where `snapshot` was taken, with the same universe and features.

        Raises:
            SnapshotError: damaged bytes, another universe or interval, or features of another set.
        """
        values, parts = decode(data)
        try:
            universe = self._universe.restored(values)
            book = Book(self._book.hold_bars)
            book.restore(values["book"])
            lane = self._restored(self._lane, {**values["lane"], "panel": parts["lane"]})
            shadow = self._shadow
            if shadow and values["shadow"]:
                shadow = self._restored(shadow, {**values["shadow"], "panel": parts["shadow"]})
            carried = dict(values.get("carried", {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, SnapshotError):
                raise
            raise SnapshotError(f"the state does not fit this engine: {error}") from error
        # All of it is sound, so all of it is taken.
        self._universe, self._book, self._lane, self._shadow, self.carried = universe, book, lane, shadow, carried

    def _restored(self, lane: Lane, state: dict[str, Any]) -> Lane:
        fresh = Lane(lane.model, self.symbols, **self._stream)
        fresh.restore(state)
        return fresh

    def load(self) -> bool:
        """Restore from the state file; return whether there was one."""
        if self._state is None or not self._state.exists():
            return False
        self.restore(self._state.read_bytes())
        return True

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        if self._state is not None:
            if self.on_save is not None:
                self.on_save()
            write_atomically(self._state, self.snapshot())
            self.counters["snapshots"] += 1
            self._since = 0

    # --- inside -------------------------------------------------------------------------------------------------

    def _take(self, bars: Bars, times: dict[int, int]) -> list[Signal]:
        start = perf_counter()
        rows, shadow_rows = self._push(bars, times)
        self.closed, self.stages = [], {"features": perf_counter() - start}
        if not bars:
            return []
        for row, bar in bars.items():
            self._end(self._book.bar(self.symbols[row], times[row], *bar[1:4]))
        found = self._decide(self._lane, rows, bars, times, frozenset(self._book.open))
        for signal, decision in found:
            self._end(self._book.signal(decision, signal.time_ns, signal.close))
            self.signals[signal.symbol] = signal
        if self._shadow is not None and shadow_rows is not None:
            for signal, _ in self._decide(self._shadow, shadow_rows, bars, times, frozenset()):
                self.shadow_signals[signal.symbol] = signal
        signals = [signal for signal, _ in found]
        if self.on_signals is not None:
            self.on_signals(signals)
        self._since += len(bars)
        if self._since >= self._every:
            self.save()
        return signals

    def _end(self, closed: Closed | None) -> None:
        if closed is not None:
            self.closed.append(closed)

    def _decide(
        self, lane: Lane, rows: Floats, bars: Bars, times: dict[int, int], held: frozenset[str]
    ) -> list[tuple[Signal, Decision]]:
        start = perf_counter()
        opinions = lane.opinions(rows, list(bars), bars)
        middle = perf_counter()
        latest = max(map(times.__getitem__, bars))
        decided = self.policy.decide(opinions, open_symbols=held, halt=self._halt(lane, latest))
        found = [
            (signal_of(opinion, decision, times[row], lane.names, self.policy.hash), decision)
            for row, opinion, decision in zip(bars, opinions, decided, strict=True)
        ]
        if lane is self._lane:
            self.stages["predict"], self.stages["policy"] = middle - start, perf_counter() - middle
        return found

    def _push(self, bars: Bars, times: dict[int, int]) -> tuple[Floats, Floats | None]:
        """Advance the features by what is new, and take out of `bars` what is not; return the features."""
        universe = self._universe
        universe.refused = {}
        universe.keep_new(bars, times)
        while bars:
            block = universe.block(bars, times)
            try:
                rows = self._lane.push(*block)
            except BadBarError as error:
                # One symbol's bad bar must not cost the others theirs. A refused push has changed nothing.
                symbol = str(error.symbol)
                universe.refuse(symbol, "bad", str(error))
                del bars[universe.rows[symbol]]
                continue
            shadow_rows = self._shadow.push(*block) if self._shadow else None
            universe.took(bars, times)
            for row in bars:
                self._features[row] = rows[row].copy()
            self.history.add(bars, times)
            return rows, shadow_rows
        return np.empty((0, 0)), None

    def _halt(self, lane: Lane, time_ns: int) -> str:
        expires = lane.model.expires_after_ns
        if expires is not None and time_ns + self.interval_ns > expires:
            return f"the model {lane.id} is stale: it expired at {np.datetime64(expires, 'ns').astype('datetime64[s]')}"
        return ""
