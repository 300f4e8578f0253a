"""P1: the same bits in every mode, for every feature, on every kind of series, in every profile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import qtfeat as qf
from contract import modes
from contract.bits import assert_same_bits
from contract.modes import ROWS, SEEDS, SERIES, Case, batch, cases
from contract.panels import joined, owners_of, panel_stream, split, symbols
from contract.specs import PROFILES, feature_sets, features

CHUNKS = (1, 2, 3, 5, 7, 13, 100, ROWS)
MODES = (modes.arrow, modes.stream, modes.peeked, modes.cloned, modes.restored)
on_all = pytest.mark.parametrize("name", SERIES)
in_all = pytest.mark.parametrize("profile", PROFILES)


@in_all
@on_all
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__)
def test_mode_gives_the_bits_of_batch(mode, name, profile):
    for case in cases(profile, name):
        assert_same_bits(batch(case), mode(case), case.fs.columns, f"{mode.__name__} {case.label}")


@in_all
@on_all
def test_any_chunking_gives_the_bits_of_batch(name, profile):
    """Small chunks take the first rows only: a batch costs the same however short it is."""
    for case in cases(profile, name):
        whole = case.fs.name == "everything"
        sizes = {"raise": CHUNKS if whole else (3, 100), "null": (1, 7, 100) if whole else (13,), "reset": (2, 13)}
        for size in sizes[case.on_bad]:
            head = replace(case, series=case.series[: max(30 * size, 60)])
            found = modes.record_batches(head, size)
            assert_same_bits(batch(head), found, case.fs.columns, f"record batches of {size} {case.label}")


@in_all
@on_all
def test_windows_give_the_bits_of_a_batch_of_the_window(name, profile):
    starts = [0, 1, 2, 17, 36, 37, 38, 500, 901, 902, 1_000]  # more than one tile of 8
    for case in cases(profile, name):
        columns = case.fs.columns
        for length in (1, 2, 35, 150, 299):
            some = starts if length > 100 else starts[:9]
            arguments = modes.window_inputs(case, some, length)
            every, last = qf.windows(**arguments, last="all"), qf.windows(**arguments, last="only")
            for i, start in enumerate(some):
                want = batch(replace(case, series=case.series[start : start + length]))
                where = f"window {start}+{length} {case.label}"
                assert_same_bits(want, every[i].T.copy(), columns, f"last='all' {where}")
                assert_same_bits(want[:, -1:], last[i][:, None].copy(), columns, f"last='only' {where}")


@in_all
@on_all
def test_windows_of_history_give_the_bits_of_windows(name, profile):
    for case in cases(profile, name):
        ends = [149, 150, 400, 1_023, 1_024, len(case.series) - 1]
        arguments = modes.window_inputs(case, [end - 149 for end in ends], 150)
        for last in ("only", "all"):
            want = qf.windows(**arguments, last=last)
            found = qf.windows_at(
                case.series.columns(), case.fs, ends, length=150, time="time", last=last, on_bad=case.on_bad
            )
            want, found = (x.reshape(-1, len(case.fs)).T.copy() for x in (want, found))
            assert_same_bits(want, found, case.fs.columns, f"windows_at {last} {case.label}")


@in_all
@on_all
def test_a_window_of_just_the_memory_gives_the_bits_of_batch(name, profile):
    """A feature with finite memory depends on its last `finite_rows` rows and on nothing else."""
    for case in cases(profile, name):
        if case.on_bad == "reset":  # the start of a window is no start of a series
            continue
        want, found = batch(case), 0
        rows = {row["finite_rows"] for row in case.fs.describe()} - {None}
        for length in sorted(rows):
            ends = sorted({length - 1, length, 700, 1_022, 1_023, 1_024, len(case.series) - 1})
            windows = qf.windows(**modes.window_inputs(case, [end - length + 1 for end in ends], length))
            here = [i for i, row in enumerate(case.fs.describe()) if row["finite_rows"] == length]
            names = [case.fs.columns[i] for i in here]
            where = f"window of {length} rows {case.label}"
            assert_same_bits(want[np.ix_(here, ends)], windows[:, here].T.copy(), names, where)
            found += len(here)
        assert found == sum(row["finite_rows"] is not None for row in case.fs.describe())


@in_all
@pytest.mark.parametrize("on_bad", ["raise", "null", "reset"])
@pytest.mark.parametrize("layout", ["contiguous", "interleaved", "moments"])
def test_panel_gives_the_bits_of_each_symbol_alone(layout, on_bad, profile):
    for seed in SEEDS:
        for fs in feature_sets(profile):
            own = symbols(fs, on_bad, seed)
            owners = owners_of(own, layout, seed)
            table = joined(own, owners)
            for threads in (1, 2):
                out = qf.compute(table, fs, by="symbol", time="time", on_bad=on_bad, threads=threads)
                for case, found in zip(own, split(out, own, owners), strict=True):
                    assert_same_bits(batch(case), found, fs.columns, f"panel, {threads} threads, {case.label}")


@in_all
@pytest.mark.parametrize("on_bad", ["raise", "null", "reset"])
def test_record_batches_of_a_panel_give_the_bits_of_each_symbol_alone(on_bad, profile):
    import pyarrow as pa

    for fs in feature_sets(profile):
        own = symbols(fs, on_bad, seed=3)
        owners = owners_of(own, "interleaved", 3)
        batches = joined(own, owners).to_batches(max_chunksize=211)
        out = list(qf.compute_batches(batches, fs, by="symbol", time="time", on_bad=on_bad))
        assert [b.num_rows for b in out] == [b.num_rows for b in batches]
        for case, found in zip(own, split(pa.Table.from_batches(out), own, owners), strict=True):
            assert_same_bits(batch(case), found, fs.columns, f"record batches of a panel, {case.label}")


@in_all
@pytest.mark.parametrize("on_bad", ["raise", "null", "reset"])
@pytest.mark.parametrize("absent", [0.0, 0.4])
def test_panel_stream_gives_the_bits_of_each_symbol_alone(absent, on_bad, profile):
    for seed in SEEDS:
        for fs in feature_sets(profile):
            panel_stream(symbols(fs, on_bad, seed, rows=200), seed, absent, restore_every=41 if absent else 0)


@in_all
@on_all
def test_float32_is_the_rounded_float64(name, profile):
    largest = np.finfo(np.float32).max
    for case in cases(profile, name):
        with np.errstate(over="ignore"):
            want = np.clip(batch(case), -largest, largest).astype(np.float32)
        where = f"float32 {case.label}"
        assert_same_bits(want, batch(case, dtype="float32"), case.fs.columns, where)
        assert_same_bits(want, modes.arrow(case, dtype="float32"), case.fs.columns, f"arrow {where}")
        found = qf.windows(**modes.window_inputs(case, [0] * 9, len(case.series)), last="all", dtype="float32")
        assert_same_bits(want, found[8].T.copy(), case.fs.columns, f"windows {where}")


@in_all
@pytest.mark.parametrize("spec", features())
def test_a_feature_alone_has_the_bits_it_has_in_company(spec, profile):
    """A set of one feature has a plan of its own: other banks, other buffers, other demand."""
    alone = qf.FeatureSet([spec], profile, fill=None, name=spec)
    for name in ("random_walk", "volume_gaps", "huge_jumps", "outlier_1e9"):
        for company in cases(profile, name, rows=300):
            if company.fs.name != "everything":
                continue
            case = Case(alone, company.series, company.on_bad)
            at = _places(company.fs, alone)
            want = batch(company)[at]
            for mode in (batch, modes.stream, modes.restored):
                assert_same_bits(want, mode(case), alone.columns, f"{mode.__name__} {case.label}")
            last = qf.windows(**modes.window_inputs(case, [0] * 9, 300))
            assert_same_bits(want[:, -1:], last[8][:, None].copy(), alone.columns, f"windows {case.label}")


def _places(company: qf.FeatureSet, alone: qf.FeatureSet) -> list[int]:
    """Where the columns of a small set stand in a big one."""
    specs = [row["spec"] for row in company.describe()]
    return [specs.index(row["spec"]) for row in alone.describe()]
