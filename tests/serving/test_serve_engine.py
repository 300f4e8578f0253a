"""The engine in process: what is taken, what is not, and the same signals after any restart."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import qtfeat as qf
from qtfeat.bars.simulate import simulate
from qtfeat.errors import FingerprintMismatch, RegistryError, SchemaError, SnapshotError
from qtfeat.serve.drift import Drift, reference
from qtfeat.serve.engine import Engine
from qtfeat.serve.state import decode, encode

SYMBOLS, BARS = 5, 260
NAN = float("nan")


class Stub:
    """A model of one line: what the engine makes of predictions is under test, not they."""

    name, version, expires_after_ns = "stub", "1", None

    def __init__(self, set_name="kline17", reference=None, gain=60.0, **fields):
        self.features = qf.FeatureSet.load(set_name)
        self.fingerprint, self.reference, self.gain = self.features.fingerprint, reference, gain
        for name, value in fields.items():
            setattr(self, name, value)

    def predict(self, X):
        z = np.tanh(X[:, 0] * self.gain)
        return np.stack([0.3 - 0.3 * z, np.full(len(z), 0.4), 0.3 + 0.3 * z], axis=1), X[:, 0] * 1.0

    def predict_row(self, x):
        if np.isnan(x).any():
            return None
        p, score = self.predict(x[None])
        return tuple(p[0].tolist()), score.tolist()[0]


@pytest.fixture(scope="module")
def market():
    return simulated(BARS)


def simulated(bars):
    table = simulate(SYMBOLS, bars, 3)
    shape = (SYMBOLS, bars)
    names = table["symbol"].unique().to_pylist()
    columns = [table[name].to_numpy() for name in ("open", "high", "low", "close", "volume")]
    return names, np.stack(columns, axis=1).reshape(*shape, 5), table["open_time"].to_numpy().reshape(shape), table


def engine(market, model=None, **kwargs):
    return Engine(model or Stub(), market[0], interval="1h", **kwargs)


def run(market, one, start=0, stop=BARS):
    _, bars, times, _ = market
    return [found for i in range(start, stop) for found in one.on_bars(bars[:, i], times[:, i])]


def test_signals_are_those_of_the_batch_features(market):
    names, _, times, table = market
    one = engine(market)
    found = {(s.symbol, s.time_ns): s for s in run(market, one)}
    fs = qf.FeatureSet.load("kline17")
    out = qf.compute(table, fs, by="symbol", time="open_time")
    X = np.stack([out[name].to_numpy() for name in fs.columns], axis=1).reshape(SYMBOLS, BARS, -1)
    checked = 0
    for s, name in enumerate(names):
        assert np.array(list(one.features(name).values())).tobytes() == X[s, -1].tobytes()
        for i in range(BARS):
            signal = found[name, int(times[s, i].astype("datetime64[ns]").astype(np.int64))]
            if np.isnan(X[s, i]).any():
                assert signal.p is None
                assert signal.source == "guard"
            else:
                p, score = Stub().predict(X[s, i : i + 1])
                assert signal.p == tuple(p[0])
                assert signal.score == score[0]
                checked += 1
    assert checked == SYMBOLS * (BARS - max(fs.warmup.values()))


@pytest.mark.parametrize("cut", [0, 1, 60, 200])
def test_restored_and_replayed_signals_are_the_uninterrupted_ones(market, cut):
    reference_rows = reference(np.random.default_rng(0).normal(size=(500, 17)))
    model = Stub(reference=reference_rows)
    whole = run(market, engine(market, model, shadow=Stub(gain=20.0)))
    first = engine(market, model, shadow=Stub(gain=20.0))
    before = run(market, first, 0, cut)
    second = engine(market, model, shadow=Stub(gain=20.0))
    second.restore(first.snapshot())
    assert run(market, second, max(0, cut - 7), cut) == []
    assert before + run(market, second, cut) == whole
    assert second.counters["late"] + second.counters["duplicate"] == SYMBOLS * min(7, cut)


def test_one_symbol_at_a_time_gives_the_same_features_and_predictions(market):
    names, bars, times, _ = market
    together, alone = engine(market), engine(market)
    for i in range(100):
        cycle = together.on_bars(bars[:, i], times[:, i])
        for s, name in enumerate(names):
            single = alone.on_bar(name, bars[s, i].tolist(), times[s, i])
            assert single is not None
            assert (single.p, single.score) == (cycle[s].p, cycle[s].score)


def test_what_is_not_new_is_counted_and_not_taken(market):
    names, bars, times, _ = market
    one = engine(market)
    for i in (0, 1, 3):
        one.on_bars(bars[:, i], times[:, i])
    assert one.counters["gap"] == SYMBOLS
    assert one.on_bar(names[0], bars[0, 3], times[0, 3]) is None
    assert one.on_bar(names[0], bars[0, 3] * 2.0, times[0, 3]) is None
    assert one.on_bar(names[0], bars[0, 2], times[0, 2]) is None
    half = times[0, 3] + np.timedelta64(30, "m")
    assert one.on_bar(names[0], bars[0, 3], half) is None
    assert one.refused[names[0]].startswith("misaligned")
    found = [one.counters[name] for name in ("duplicate", "conflict", "late", "misaligned", "taken")]
    assert found == [1, 1, 1, 1, 3 * SYMBOLS]


def test_a_bad_bar_costs_only_its_own_symbol(market):
    names, bars, times, _ = market
    one = engine(market)
    broken = bars[:, 0].copy()
    broken[2, 1] = -1.0
    assert [s.symbol for s in one.on_bars(broken, times[:, 0])] == [n for i, n in enumerate(names) if i != 2]
    assert one.counters["bad"] == 1
    assert one.refused[names[2]].startswith("bad")
    assert one.on_bar(names[2], bars[2, 0], times[2, 0]) is not None
    assert one.features(names[1])
    assert one.last_times[names[2]] == int(times[2, 0].astype("datetime64[ns]").astype(np.int64))


def test_a_peek_is_what_the_bar_would_give_and_changes_nothing(market):
    names, bars, times, _ = market
    one = engine(market)
    run(market, one, 0, 80)
    before = one.snapshot()
    peeked = one.peek(names[1], bars[1, 80], times[1, 80])
    assert one.snapshot() == before
    taken = one.on_bar(names[1], bars[1, 80], times[1, 80])
    assert taken is not None
    assert peeked.forming
    assert (peeked.p, peeked.side) == (taken.p, taken.side)
    with pytest.raises(SchemaError, match="not newer"):
        one.peek(names[1], bars[1, 80], times[1, 80])


def test_history_warms_up_without_a_signal(market):
    names, bars, times, table = market
    warm, run_in = engine(market), engine(market)
    half = table.filter(np.tile(np.arange(BARS) < 200, SYMBOLS))
    assert warm.warm_up(half) == 200 * SYMBOLS
    assert not warm.signals
    run(market, run_in, 0, 200)
    a, b = warm.on_bars(bars[:, 200], times[:, 200]), run_in.on_bars(bars[:, 200], times[:, 200])
    assert [s.p for s in a] == [s.p for s in b]
    assert set(warm.ready()) == set(names)
    assert not any(engine(market).ready().values())


def test_a_stale_model_holds(market):
    _, _bars, times, _ = market
    expiry = int(times[0, 100].astype("datetime64[ns]").astype(np.int64))
    one = engine(market, Stub(expires_after_ns=expiry))
    found = run(market, one, 0, 101)
    assert all("stale" in s.reason for s in found[-SYMBOLS:])
    assert not any("stale" in s.reason for s in found[: -2 * SYMBOLS])


def test_drifted_inputs_hold():
    # The index needs a quarter of its window: 500 bars of each symbol.
    market = simulated(560)
    one = engine(market, Stub(reference=reference(np.full((600, 17), 1e6) + np.arange(600)[:, None])))
    found = run(market, one, 0, 560)
    assert found[-1].drift > 0.25
    assert found[-1].source == "guard"
    assert "drift" in found[-1].reason


def test_the_drift_index_is_small_for_the_same_and_large_for_another_distribution():
    rng = np.random.default_rng(1)
    known = reference(rng.normal(size=(5000, 3)))
    same, moved = Drift(known, 3), Drift(known, 3)
    for row in rng.normal(size=(3000, 3)):
        same.update(row)
        moved.update(row + 1.0)
    assert same.index < 0.05
    assert moved.index > 0.5
    again = Drift(known, 3)
    again.restore(same.state())
    row = rng.normal(size=3)
    assert [again.update(row) for _ in range(200)] == [same.update(row) for _ in range(200)]


def test_a_hostile_reference_is_refused():
    good = reference(np.random.default_rng(0).normal(size=(100, 3)))
    for bad in ({}, {**good, "edges": "x"}, {**good, "shares": [[NAN] * 10] * 3}, reference(np.zeros((9, 2)))):
        with pytest.raises(RegistryError):
            Drift(bad, 3)


def test_a_swap_keeps_the_state_of_equal_features_and_warms_up_others(market):
    _names, bars, times, table = market
    one, plain = engine(market), engine(market, Stub(gain=20.0))
    run(market, one, 0, 150)
    run(market, plain, 0, 150)
    one.swap(Stub(gain=20.0, version="2"))
    a, b = one.on_bars(bars[:, 150], times[:, 150]), plain.on_bars(bars[:, 150], times[:, 150])
    assert [s.p for s in a] == [s.p for s in b]
    assert a[0].model == "stub/2"
    one.swap(Stub("wide32", version="3"), history=table.filter(np.tile(np.arange(BARS) < 151, SYMBOLS)))
    fresh = engine(market, Stub("wide32"))
    run(market, fresh, 0, 151)
    a, b = one.on_bars(bars[:, 151], times[:, 151]), fresh.on_bars(bars[:, 151], times[:, 151])
    assert [s.p for s in a] == [s.p for s in b]
    assert a[0].p is not None
    # Without history given: the bars in memory.
    one.swap(Stub("trade14", version="4"))
    fresh = engine(market, Stub("trade14"))
    run(market, fresh, 0, 152)
    a, b = one.on_bars(bars[:, 152], times[:, 152]), fresh.on_bars(bars[:, 152], times[:, 152])
    assert [s.p for s in a] == [s.p for s in b]
    forgetful = engine(market, history=0)
    run(market, forgetful, 0, 152)
    forgetful.swap(Stub("trade14", version="4"))
    assert forgetful.on_bars(bars[:, 152], times[:, 152])[0].p is None
    one.swap(Stub(gain=5.0), shadow=True)
    assert one.shadow is not None
    one.drop_shadow()
    assert one.shadow is None


def test_a_model_of_other_features_is_refused(market):
    with pytest.raises(FingerprintMismatch, match="other"):
        engine(market, Stub(fingerprint="other"))


@pytest.mark.parametrize(
    "call",
    [
        lambda e, n: e.on_bar("nobody", [1, 1, 1, 1, 1], 0),
        lambda e, n: e.on_bar(n, [1, 1, 1, 1], 0),
        lambda e, n: e.on_bar(n, [1, 1, 1, 1, "x"], 0),
        lambda e, n: e.on_bar(n, {"open": 1}, 0),
        lambda e, n: e.on_bar(n, [1, 1, 1, 1, 1]),
        lambda e, n: e.on_bar(n, [NAN] * 5, 0),
        lambda e, n: e.on_bars(np.zeros((2, 5)), 0),
        lambda e, n: e.on_bars(np.zeros((SYMBOLS, 5)), [0]),
    ],
)
def test_calls_that_make_no_sense_are_refused(market, call):
    one = engine(market)
    with pytest.raises(SchemaError):
        call(one, market[0][0])
    assert one.counters["taken"] == 0


@pytest.mark.parametrize(
    "kwargs", [{"interval": "x"}, {"interval": "1h", "on_gap": "raise"}, {"interval": "1h", "snapshot_every": 0}]
)
def test_settings_that_make_no_sense_are_refused(market, kwargs):
    with pytest.raises(SchemaError):
        Engine(Stub(), market[0], **kwargs)
    with pytest.raises(SchemaError):
        Engine(Stub(), [], interval="1h")


def test_a_damaged_or_foreign_state_is_refused(market):
    one = engine(market)
    run(market, one, 0, 40)
    good = one.snapshot()
    for at in range(0, len(good), max(1, len(good) // 97)):
        with pytest.raises(SnapshotError):
            engine(market).restore(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(SnapshotError):
            engine(market).restore(good[:at])
    with pytest.raises(SnapshotError, match="universe"):
        Engine(Stub(), ["X"], interval="1h").restore(good)
    values, parts = decode(good)
    for forged in ({**values, "seen": None}, {**values, "lane": {}}, {k: v for k, v in values.items() if k != "book"}):
        with pytest.raises(SnapshotError):
            engine(market).restore(encode(forged, parts))
    with pytest.raises(SnapshotError):
        engine(market, Stub("wide32")).restore(good)


def test_killed_while_it_saves_the_state_is_the_old_or_the_new_one(market, tmp_path):
    path = tmp_path / "engine.state"
    script = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        from pathlib import Path
        from qtfeat.serve.state import encode, write_atomically
        n = 0
        while True:
            n += 1
            write_atomically(Path(sys.argv[1]), encode({"n": n}, {"body": bytes([n % 256]) * 200_000}))
            if n == 1:
                print("on", flush=True)
        """
    )
    for delay in (0.0, 0.01, 0.03, 0.07):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            try:
                child.wait(delay)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
        values, parts = decode(path.read_bytes())
        assert parts["body"] == bytes([values["n"] % 256]) * 200_000
