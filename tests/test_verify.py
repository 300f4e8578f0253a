"""`qf.verify`: sound sets pass on every kind of table, planted faults are named, nothing unrun is claimed."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import qtfeat as qf
from barsets import BARSETS, REAL_SYMBOLS, real_bars
from qtfeat.bars import simulate
from qtfeat.errors import BadBarError, QtfeatError, SchemaError, UnsortedError, VerifyFailed
from qtfeat.features import FILL
from qtfeat.proof import finite
from qtfeat.proof.market import head, read, sample
from qtfeat.proof.report import Finding, Promise
from qtfeat.proof.subject import Subject, differing

POLICY = {"on_bad": "raise", "on_gap": "ignore", "interval": None}
FAULTS = {"lookahead": "P3", "fused": "P1", "infinite": "P2", "stale_snapshot": "P1"}
MIXED = ["rsi(14)", "macd(12,26,9)", "bb(20,2)", "x = (close - ema(close,50)) / atr(14)", "obv"]


def table(n: int = 500, symbols: int = 3, seed: int = 3) -> pa.Table:
    return simulate(symbols=symbols, bars=n, seed=seed)


def arrays(n: int = 400, seed: int = 3) -> dict[str, Any]:
    t = table(n, 1, seed)
    return {c: t.column(c).to_numpy().copy() for c in ("open", "high", "low", "close", "volume", "open_time")}


def real_table(rows: int = 1500) -> pa.Table:
    parts = []
    for symbol in REAL_SYMBOLS[:2]:
        bars = real_bars(symbol)
        columns = {n: c[:rows] for n, c in bars.columns().items()}
        time = pa.array(bars.time[:rows], type=pa.timestamp("ns"))
        parts.append(pa.table({**columns, "open_time": time, "symbol": pa.array([symbol] * rows)}))
    return pa.concat_tables(parts)


def kinds() -> dict[str, Any]:
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    t = table(300, 2)
    frame = t.to_pandas()
    return {
        "pyarrow": t,
        "pandas": frame,
        "shuffled pandas": frame.sort_values(["open_time", "symbol"], kind="stable").reset_index(drop=True),
        "polars": pl.DataFrame(t),
        "dict": {c: frame[c].to_numpy() for c in frame.columns if c != "open_time"}
        | {"open_time": pd.DatetimeIndex(frame["open_time"]).tz_localize(None).to_numpy()},
    }


# --- sound sets ---


@pytest.mark.parametrize("name", ["kline17", "trade14", "seq8", "wide32"])
def test_shipped_sets_hold(name: str) -> None:
    report = qf.verify(table(), name, by="symbol", time="open_time", processes=name == "wide32")
    assert report.ok
    assert report.findings == []
    assert [p.id for p in report.promises if p.comparisons > 0] == ["P3", "P2", "P1"]


def test_every_indicator_holds_on_every_test_market() -> None:
    fs = qf.FeatureSet(sorted({row["id"] for row in qf.catalog().to_pylist()}))
    for name, make in BARSETS.items():
        bars = make(260, 5)
        report = qf.verify(
            bars.columns() | {"t": bars.time.astype("datetime64[ns]")}, fs, time="t", processes=False, raises=False
        )
        assert report.ok, f"{name}\n{report}"


def test_sound_on_real_bars() -> None:
    report = qf.verify(real_table(), "wide32", by="symbol", time="open_time")
    assert report.ok
    assert report.symbols == 2


def test_every_kind_of_table() -> None:
    reports = {
        kind: qf.verify(bars, MIXED, by="symbol", time="open_time", processes=False) for kind, bars in kinds().items()
    }
    counts = {kind: (r.ok, r.rows, r.comparisons) for kind, r in reports.items()}
    assert len(set(counts.values())) == 1, counts


def test_extra_columns_calendar_and_missing_columns() -> None:
    bars = arrays()
    funding = np.random.default_rng(1).standard_normal(400)
    specs = ["hour_sin", "f = mean(funding, 5)", "volume_ratio(5)"]
    bars_of_volume = {"volume": bars["volume"], "funding": funding, "open_time": bars["open_time"]}
    assert qf.verify(bars | {"funding": funding}, specs, time="open_time").ok
    assert qf.verify(bars_of_volume, specs, time="open_time", processes=False).ok
    assert qf.verify({"close": bars["close"].astype(np.float32)}, ["rsi", "ret"], processes=False).ok


@pytest.mark.parametrize("on_bad", ["null", "reset"])
def test_policies_with_bad_rows_and_gaps(on_bad: Any) -> None:
    bars = arrays()
    rng = np.random.default_rng(0)
    for row in rng.integers(0, 400, 12):
        bars[str(rng.choice(["open", "close", "volume"]))][row] = rng.choice([np.nan, -1.0, np.inf])
    for column in ("open", "high", "low", "close", "volume"):
        bars[column][[50, 200]] = np.nan
    gaps = {k: np.delete(v, [100, 101, 250]) for k, v in bars.items()}
    for on_gap in ("ignore", "reset"):
        report = qf.verify(
            gaps, [*MIXED, "ret"], time="open_time", on_bad=on_bad, on_gap=on_gap, interval="1h", raises=False
        )  # type: ignore[arg-type]
        assert report.ok, str(report)


def test_numerics_profiles() -> None:
    for numerics in ("talib", "legacy"):
        fs = qf.FeatureSet(["rsi(14)", "macd(12,26,9)", "bb(20,2)"], numerics, fill=None)  # type: ignore[arg-type]
        assert qf.verify(table(), fs, by="symbol", time="open_time", processes=False).ok


def test_legacy_has_holes_which_its_fill_fills() -> None:
    bars = BARSETS["flat_no_volume"](120, 1).columns()
    report = qf.verify(bars, qf.FeatureSet(["stoch", "rsi", "vwap"], "legacy", fill=None), processes=False)
    assert report.ok
    assert any("divide 0 by 0" in note for note in report.promise("P2").notes)


# --- planted faults ---


@pytest.mark.parametrize("real", [False, True], ids=["simulated", "real"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, real: bool) -> None:
    bars = real_table() if real else table(700)
    fs = qf.FeatureSet(MIXED, _fault=fault)
    with pytest.raises(VerifyFailed) as caught:
        qf.verify(bars, fs, by="symbol", time="open_time")
    error = caught.value
    assert (error.promise, error.column) == (FAULTS[fault], "rsi")
    text = str(error).splitlines()[0]
    assert FAULTS[fault] in text
    assert "'rsi'" in text
    assert f"row {error.row}" in text
    assert error.symbol in text
    assert not error.report.ok
    assert not error.report.promise(FAULTS[fault]).holds
    if fault != "stale_snapshot":  # that one spoils the state of all features
        assert {f.column for f in error.report.findings} == {"rsi"}
    assert isinstance(error, QtfeatError)


def test_a_stale_snapshot_is_found_in_the_new_process_too() -> None:
    report = qf.verify(table(700), qf.FeatureSet(MIXED, _fault="stale_snapshot"), by="symbol", raises=False)
    broken = [c.name for c in report.promise("P1").checks.values() if c.broken]
    assert "snapshot and restore" in broken
    assert sum("restored in a new process" in name for name in broken) >= 1
    assert not any("batch" in name or "bar by bar" in name for name in broken)
    assert report.promise("P2").holds
    assert report.promise("P3").holds


@pytest.mark.parametrize("fault", ["lookahead", "fused", "infinite"])
@pytest.mark.parametrize("spec", ["ret", "range_hl", "obv", "donchian(50)", "adx(14)"])
def test_faults_in_features_of_every_memory(fault: str, spec: str) -> None:
    fs = qf.FeatureSet([spec], _fault=fault)
    report = qf.verify(table(600), fs, by="symbol", processes=False, raises=False)
    first = report.findings[0]
    assert (first.promise, first.column) == (FAULTS[fault], fs.columns[0])


def test_the_fill_of_legacy_is_reported() -> None:
    fs = qf.FeatureSet(["rsi(14)", "bb(20,2)"], "legacy")
    assert fs.fill == FILL
    with pytest.raises(VerifyFailed, match="not causal") as caught:
        qf.verify(table(), fs, by="symbol", time="open_time", processes=False)
    report = caught.value.report
    assert caught.value.promise == "P3"
    assert [p.id for p in report.promises if not p.holds] == ["P3"]
    assert [c.name for c in report.promise("P3").checks.values() if c.broken] == ["the bars cut off, with the fill"]


# --- what P2 knows ---


def altered(row: int, value: float, spec: str = "rsi(14)") -> Promise:
    fs = qf.FeatureSet([spec])
    market = read(arrays(100), fs, None, None, None, POLICY)
    subject = Subject.of(fs, market, np.random.default_rng(0))
    subject.reference[0, row] = value
    promise = Promise("P2", "")
    finite.check(subject, promise)
    return promise


@pytest.mark.parametrize(
    ("row", "value", "check"),
    [
        (50, np.inf, finite.FINITE),
        (50, -np.inf, finite.FINITE),
        (50, 100.00000001, finite.RANGE),
        (50, -1e-12, finite.RANGE),
        (14, np.nan, finite.PRESENT),
        (13, 50.0, finite.PRESENT),
    ],
)
def test_finite_finds(row: int, value: float, check: str) -> None:
    assert altered(14, 50.0).holds
    findings = altered(row, value).findings
    assert [(f.check, f.column, f.row) for f in findings] == [(check, "rsi", row)]


def test_bits_are_compared() -> None:
    a = np.array([[0.0, np.nan, 1.0, np.inf]])
    assert not differing(a, a.copy()).any()
    b = np.array([[-0.0, 1.0, np.nextafter(1.0, 2.0), -np.inf]])
    assert differing(a, b).all()


# --- the report ---


def test_report_text_and_data() -> None:
    fs = qf.FeatureSet.load("kline17")
    report = qf.verify(table(), fs, by="symbol", time="open_time", seed=4)
    text = str(report)
    for part in (
        "P1",
        "P2",
        "P3",
        "kline17",
        fs.fingerprint[:12],
        "1,500 rows",
        "3 symbols",
        "record batches of 7",
        qf.cpu(),
    ):
        assert part in text, part
    assert "sse2: batch in a new process" in text or "baseline: batch" in text or qf.cpu() == "sse2"
    assert f"{report.comparisons:,} column comparisons" in text
    assert report.promise("P1").checks["stream, bar by bar"].rows == 1500
    assert report.rows == report.table_rows == 1500
    assert all(p.seconds > 0 for p in report.promises)


def test_what_was_not_compared_is_said() -> None:
    report = qf.verify(arrays(), ["rsi(14)", "ema(5)"], processes=False)
    notes = " ".join(report.promise("P1").notes)
    assert "one symbol" in notes
    assert "no feature has finite memory" in notes
    assert "new processes were not asked for" in notes
    assert "threads  " not in str(report)


def test_samples_of_a_large_table() -> None:
    report = qf.verify(table(3000, 4), ["rsi(14)", "ret"], by="symbol", max_rows=5000, processes=False)
    assert report.ok
    assert report.rows == 5000
    assert "5,000 rows of 12,000 (a sample)" in str(report)
    assert "the table as given" not in str(report)
    caught = qf.verify(
        table(3000, 4),
        qf.FeatureSet(["ret"], _fault="infinite"),
        by="symbol",
        max_rows=5000,
        processes=False,
        raises=False,
    )
    rows = [f.row for f in caught.findings]
    assert max(rows) < 12_000
    with pytest.raises(SchemaError):
        qf.verify(table(), ["ret"], max_rows=0)


def test_stretches_are_whole_and_in_order() -> None:
    fs = qf.FeatureSet(["ret"])
    market = read(table(3000, 5), fs, "symbol", "open_time", None, POLICY)
    part = sample(market, 7000, np.random.default_rng(2))
    assert len(part) == 7000
    for s in range(len(part.symbols)):
        assert (np.diff(part.rows[part.span(s)]) == 1).all()
    first, keep = head(market, 100)
    assert len(first) == 100 == np.count_nonzero(keep)
    assert len(set(part.symbols)) == len(part.symbols)


def test_many_findings_are_counted_not_listed() -> None:
    promise = Promise("P1", "one arithmetic")
    for k in range(9):
        promise.broken(Finding("P1", "check", f"c{k}", k, None, "1.0", "2.0", 3))
        promise.broken(Finding("P1", "check", f"c{k}", k + 1, None, "1.0", "2.0", 3))
    lines = list(promise.lines())
    assert lines[-1] == "   - and 4 more"
    assert "DIFFERS" in lines[1]
    assert "and 2 more" in lines[2]


# --- errors ---


def test_errors_are_those_of_compute() -> None:
    bars = arrays()
    bars["high"][7] = 1e-9
    with pytest.raises(BadBarError) as bad:
        qf.verify(bars, "kline17")
    assert (bad.value.row, bad.value.column) == (7, "high")
    late = table().take(list(range(1499, -1, -1)))
    with pytest.raises(UnsortedError):
        qf.verify(late, "kline17", by="symbol", time="open_time")
    with pytest.raises(SchemaError, match="column 'open' is missing"):
        qf.verify({"close": bars["close"]}, "wide32")
    with pytest.raises(SchemaError, match="no bars"):
        qf.verify(table().slice(0, 0), "kline17", by="symbol")
    with pytest.raises(SchemaError):
        qf.verify(table(), ["hour_sin"])


def test_one_row_and_short_series() -> None:
    assert qf.verify(table(1, 1), "kline17", processes=False).ok
    t = table(30, 2)
    assert qf.verify(pa.concat_tables([t, table(1, 3).slice(2)]), "wide32", by="symbol").ok


def test_importing_the_package_does_not_hide_the_function() -> None:
    importlib.import_module("qtfeat.proof")
    assert callable(qf.verify)


def test_a_stream_is_read_once() -> None:
    assert qf.verify(table(200, 2).to_reader(), ["rsi"], by="symbol", time="open_time", processes=False).ok
