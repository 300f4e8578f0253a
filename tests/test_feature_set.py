"""Feature sets: specs that point at their mistake, TOML there and back, and the clock that a set may read."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import badbars as bb
import qtfeat as qf
import sizes

# --- specs -----------------------------------------------------------------------------------------------------------

# spec, and the text that starts where the error points
POINTED = [
    ("trend = (close - ema(close,50) / atr(14)", "(close"),
    ("x = close + volume", "+ volume"),
    ("x = clöse", "öse"),
    ("foo(3)", "foo"),
    ("rsi(14", "(14"),
    ("rsi(14))", ")"),
    ("rsi(0)", "0)"),
    ("rsi(2.5)", "2.5"),
    ("rsi(-3)", "-3"),
    ("sma(99999999999999999999)", "9999"),
    ("rsi(foo=1)", "foo=1"),
    ("rsi(14, period=15)", "period=15"),
    ("rsi(14).line", ".line"),
    ('ema(20, seed="last")', '"last"'),
    ("x = lag(close,-1)", "-1"),
    ("x = lag(close,2147483648)", "2147483648"),
    ("x = close ** 2", "* 2"),
    ("x = std(close,1,ddof=1)", "1,ddof"),
    ("x = close # level", "#"),
    ("A = close", "A"),
    ("close = open", "close"),
    ("x = close*close*close", "*close"),
    ("x = 1e400 * close", "1e400"),
    ("x = close\0", "\0"),
]


@pytest.mark.parametrize(("spec", "at"), POINTED, ids=[repr(p[0]) for p in POINTED])
def test_a_bad_spec_points_at_the_character(spec: str, at: str) -> None:
    with pytest.raises(qf.FeatureSpecError) as caught:
        qf.FeatureSet(["ret", spec])
    error = caught.value
    rest = error.spec.encode()[error.position :].decode()
    assert error.spec == spec
    assert rest.lstrip(".").startswith(at.lstrip(".")), rest
    column = len(error.spec.encode()[: error.position].decode())
    *_, shown, caret = str(error).splitlines()
    assert caret == "  " + " " * column + "^"
    assert shown.strip("\0 ") == spec.strip("\0 ")


@pytest.mark.parametrize(
    "specs",
    [
        [],
        [""],
        ["  "],
        ["= close"],
        ["x ="],
        ["x"],
        ["x.y = close"],
        ["rsi(14)", "rsi(14)"],
        ["rsi(14)", "rsi()"],
        ["a = close", "a = open"],
        ["a = b", "b = a"],
        ["a = b", "b = c", "c = lag(a,1)"],
        ["a = a"],
        ["\0"],
        ["x = " + "(" * 2000 + "close" + ")" * 2000],
        ["x = " + "abs(" * 900 + "close" + ")" * 900],
        ["x = " + "close + " * 10**6 + "close"],
        ["(" * 10**6],
        ["x = close"] * 100_000,
        ["x = mean(close, 1000001)"],
        ["kline17"],
        "kline17",
        [5],
        [None],
        [b"rsi(14)"],
    ],
    ids=lambda s: repr(s)[:30],
)
def test_specs_that_are_none(specs: Any) -> None:
    with pytest.raises(qf.FeatureSpecError):
        qf.FeatureSet(specs)


@pytest.mark.parametrize("specs", [None, 5, ["\ud800"]], ids=repr)
def test_arguments_that_are_no_specs(specs: Any) -> None:
    with pytest.raises(qf.QtfeatError):
        qf.FeatureSet(specs)


def test_names_of_other_features_may_be_used_in_any_order() -> None:
    bars = bb.good()
    specs = ["gap2 = fast - slow", "fast = ema(close,3)", "slow = ema(close,9)"]
    specs += ["rsi(5)", "tilt = rsi - 50", "near = gap2 / atr(5)"]
    out = qf.compute(bars, specs)
    assert list(out) == ["gap2", "fast", "slow", "rsi", "tilt", "near"]
    assert np.array_equal(out["gap2"], out["fast"] - out["slow"], equal_nan=True)
    assert np.array_equal(out["tilt"], out["rsi"] - 50, equal_nan=True)
    whole = qf.compute(bars, [*specs[1:3], "gap2 = ema(close,3) - ema(close,9)", "near = gap2 / atr(5)"])
    assert np.array_equal(out["near"], whole["near"], equal_nan=True)
    turned = qf.FeatureSet(specs[::-1])
    assert turned.columns == list(out)[::-1]
    assert turned.warmup == qf.FeatureSet(specs).warmup


@pytest.mark.soak
def test_random_specs_give_a_set_or_an_error() -> None:
    rng = random.Random(11)
    words = "x = |==|<|>|+|-|*|/|(|)|(|)|,|.|=|close|volume|flow|ema|rsi|lag|mean|std|min|where|log|ratio|bb|macd|.pct"
    words += '|.signal|1|14|0|2.5|1e9|-1|neutral=|ddof=|seed=|"first"| |\n|é|\0'
    built = 0
    for _ in range(sizes.scaled(500_000)):
        spec = "x = " * (rng.random() < 0.5) + "".join(rng.choices(words.split("|"), k=rng.randint(1, 14)))
        try:
            fs = qf.FeatureSet([spec])
        except qf.FeatureSpecError as error:
            assert 0 <= error.position <= len(spec.encode())  # noqa: PT017
        else:
            built += 1
            assert len(fs.warmup) == len(fs.columns)
    assert built > 0


def test_long_periods_cost_no_more_than_their_rows() -> None:
    fs = qf.FeatureSet(["x = mean(close,1000000)", "y = lag(close,1000000)", "z = ema(close,100000)"])
    for run in (bb.MODES["dict"], bb.MODES["windows"], bb.MODES["batches"], bb.MODES["sequences"]):
        assert np.isnan(run(bb.good(), fs)).all()
    assert list(fs.warmup.values()) == [999_999, 1_000_000, 99_999]


# --- equality, copies, profiles --------------------------------------------------------------------------------------


def test_sets_are_equal_by_fingerprint() -> None:
    one, same = qf.FeatureSet(["rsi(14)"], name="one"), qf.FeatureSet(["rsi( period = 14 )"], name="two")
    others = [["rsi(15)"], ["x = rsi(14)"], ["rsi(14)", "ret"]]
    assert one == same
    assert hash(one) == hash(same)
    assert len({one.fingerprint, *(qf.FeatureSet(o).fingerprint for o in others)}) == 4
    profiles: list[dict[str, Any]] = [
        {},
        {"numerics": "talib"},
        {"numerics": "legacy"},
        {"numerics": "legacy", "fill": None},
        {"numerics": "legacy", "eps": 1e-9},
    ]
    assert len({qf.FeatureSet(["rsi(14)"], **p).fingerprint for p in profiles}) == len(profiles)
    for options in profiles:
        fs = qf.FeatureSet(["rsi(14)"], name="n", **options)
        for twin in (copy.copy(fs), copy.deepcopy(fs)):
            assert twin == fs
            assert (twin.name, twin.fill, twin.eps, twin.specs) == (fs.name, fs.fill, fs.eps, fs.specs)


@pytest.mark.parametrize(
    "options",
    [
        {"numerics": "fast"},
        {"fill": "ffill"},
        {"fill": "ffill_bfill_zero"},
        {"numerics": "talib", "fill": "ffill_bfill_zero"},
        {"numerics": "legacy", "eps": -1.0},
        {"numerics": "legacy", "eps": float("nan")},
        {"numerics": "legacy", "eps": float("inf")},
    ],
    ids=str,
)
def test_profiles_that_do_not_exist(options: dict[str, Any]) -> None:
    with pytest.raises(qf.SchemaError):
        qf.FeatureSet(["rsi(14)"], **options)


def test_the_fill_is_the_sets_or_none() -> None:
    bars = bb.good()
    legacy = qf.FeatureSet(["rsi(5)", "ret"], numerics="legacy")
    assert np.isfinite(qf.compute(bars, legacy)["rsi"]).all()
    assert np.isfinite(qf.compute(bars, legacy, fill="ffill_bfill_zero")["rsi"]).all()
    assert np.isnan(qf.compute(bars, legacy, fill=None)["rsi"]).any()
    assert np.isfinite(qf.windows(bb.cube(bars), legacy, last="all")).all()
    assert np.isfinite(qf.windows_at(bars, legacy, [3], length=2)).all()
    safe = qf.FeatureSet(["rsi(5)"])
    for fs, fill in ((legacy, "zero"), (safe, "ffill_bfill_zero"), (safe, "x")):
        with pytest.raises(qf.SchemaError, match="fill"):
            qf.compute(bars, fs, fill=fill)


@pytest.mark.parametrize("digits", [0, -1, 17, float("nan")])
def test_bars_for_wants_a_number_of_digits(digits: float) -> None:
    with pytest.raises(qf.SchemaError, match="digits"):
        qf.FeatureSet(["rsi(14)"]).bars_for(digits)


# --- TOML ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"name": "plain"},
        {"name": 'quote " back \\ slash'},
        {"name": "line\nbreak\ttab\r"},
        {"name": "\0\x1f\x7f"},
        {"name": "é\u2028𝄞"},
        {"numerics": "talib"},
        {"numerics": "legacy"},
        {"numerics": "legacy", "fill": None, "eps": 1e-12},
        {"numerics": "legacy", "eps": 0.0},
    ],
    ids=repr,
)
def test_toml_there_and_back(options: dict[str, Any], tmp_path: Path) -> None:
    specs = ["rsi(14)", 'e = ema(close,20,seed="first")', "x = close\n\t- open", "bb(20, 2.5).pct"]
    fs, path = qf.FeatureSet(specs, **options), tmp_path / "set.toml"
    text = fs.to_toml(path)
    assert path.read_text(encoding="utf-8") == text == fs.to_toml()
    back = qf.FeatureSet.from_toml(path)
    assert back.fingerprint == fs.fingerprint
    assert (back.specs, back.name, back.numerics) == (fs.specs, fs.name, fs.numerics)
    assert (back.fill, back.eps) == (fs.fill, fs.eps)


@pytest.mark.parametrize("name", ["kline17", "trade14", "seq8", "wide32"])
def test_shipped_sets_there_and_back(name: str, tmp_path: Path) -> None:
    fs = qf.FeatureSet.load(name)
    fs.to_toml(tmp_path / "set.toml")
    assert qf.FeatureSet.from_toml(str(tmp_path / "set.toml")) == fs
    assert not fs.needs_time
    assert not fs.extras


GOOD = 'features = ["rsi(14)"]\n'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "features = []",
        'features = "rsi(14)"',
        "features = [5]",
        "features = {a = 1}",
        GOOD + "numerics = 5",
        GOOD + 'numerics = "fast"',
        GOOD + 'eps = "small"',
        GOOD + "eps = true",
        GOOD + 'numerics = "legacy"\neps = nan',
        GOOD + 'numerics = "legacy"\neps = -1',
        GOOD + "eps = " + "9" * 400,
        GOOD + "name = 5",
        GOOD + "fill = 5",
        GOOD + 'fill = "ffill_bfill_zero"',
        GOOD + "import = 1",
        GOOD + "[table]\nx = 1",
        GOOD + GOOD,
        "features = [",
        "\ufeff" + GOOD + "x",
        "a = " + "[" * 50_000,
        b"features = ['\xff\xfe']",
        b"\x00\x01\x02",
    ],
    ids=lambda t: repr(t)[:40],
)
def test_hostile_toml(text: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "set.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((qf.SchemaError, qf.FeatureSpecError)):
        qf.FeatureSet.from_toml(path)


@pytest.mark.parametrize("name", ["kline18", "../sets/kline17", "", "kline17.toml", 5])
def test_sets_that_are_not_shipped(name: Any) -> None:
    with pytest.raises(qf.SchemaError, match="shipped"):
        qf.FeatureSet.load(name)


# --- the clock -------------------------------------------------------------------------------------------------------

CLOCK = ("hour_sin", "hour_cos", "dow_sin", "ret")


@pytest.mark.parametrize("form", bb.TIMES)
def test_every_form_of_time_is_the_same_time(form: str) -> None:
    fs = qf.FeatureSet(CLOCK)
    want = bb.matrix(qf.compute(bb.timed(bb.NAIVE.astype("datetime64[ns]")), fs, time="time"), fs.columns)
    assert np.allclose(want[:, 0], np.sin(2 * np.pi * np.arange(12) / 24), atol=1e-15)
    unit = {"time_unit": "s"} if form.endswith(("seconds", "int")) else {}
    assert bb.same_bits(bb.matrix(qf.compute(bb.TIMES[form](), fs, time="time", **unit), fs.columns), want)
    assert bb.same_bits(qf.sequences(bb.TIMES[form](), fs, length=1, time="time", **unit)[:, 0], want)
    assert bb.same_bits(qf.windows_at(bb.TIMES[form](), fs, [11], length=12, time="time", last="all", **unit)[0], want)


@pytest.mark.parametrize("form", bb.BAD_TIMES)
def test_times_that_are_none(form: str) -> None:
    for policy in ("raise", "null", "reset"):
        options: dict[str, Any] = {"time": "time", "on_bad": policy}
        for call in (
            lambda o: qf.compute(bb.BAD_TIMES[form](), CLOCK, **o),
            lambda o: qf.sequences(bb.BAD_TIMES[form](), CLOCK, length=1, **o),
            lambda o: qf.windows_at(bb.BAD_TIMES[form](), CLOCK, [11], length=12, **o),
        ):
            with pytest.raises(qf.SchemaError) as caught:
                call(options)
            assert caught.value.column == "time"
            assert not form.startswith("null") or caught.value.row == 4


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_whole_numbers_of_the_wrong_unit(unit: str) -> None:
    for raw in ([-(2**63), 0, 1], [0, 1, 2**63 - 1], np.array([0, 1, 2**64 - 1], dtype=np.uint64)):
        bars = bb.take(bb.good(), slice(0, 3)) | {"time": np.asarray(raw)}
        if unit == "ns" and raw[-1] == 2**63 - 1:
            continue
        for table in (bars, pa.table(bars)):
            with pytest.raises(qf.SchemaError) as caught:
                qf.compute(table, ["ret"], time="time", time_unit=unit)
            assert caught.value.column == "time"
