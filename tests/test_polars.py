"""The polars namespace: the bits of `qtfeat.compute`, in select, with_columns, over and group_by."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import qtfeat as qf
from qtfeat.bars import simulate
from qtfeat.errors import BadBarError, FeatureSpecError, SchemaError

pl = pytest.importorskip("polars", reason="the namespace is polars sugar")

import qtfeat.polars_namespace as namespace  # noqa: E402 - after the check that polars is there

FRAME = pl.DataFrame(simulate(symbols=3, bars=150, seed=2))
ONE = FRAME.filter(pl.col("symbol") == "SIM000")
BARS = pl.struct("open", "high", "low", "close", "volume")
CATALOGUE = qf.catalog().to_pylist()
NAMES = sorted({row["id"] for row in CATALOGUE})


def column(specs: list[str], by: str | None = None, frame: Any = FRAME) -> Any:
    return qf.compute(frame, specs, by=by, time="open_time")


def expression(name: str) -> Any:
    return getattr((pl.col("open_time") if name.startswith(("hour", "dow")) else BARS).qf, name)()


@pytest.mark.parametrize("name", NAMES)
def test_every_indicator(name: str) -> None:
    found = ONE.select(x=expression(name))["x"]
    rows = [row for row in CATALOGUE if row["id"] == name]
    expected = column([name], frame=ONE)
    if len(rows) == 1:
        assert found.dtype == pl.Float64
        assert found.equals(expected[rows[0]["column"]], null_equal=True)
        assert found.null_count() == rows[0]["warmup"]
        return
    assert found.dtype == pl.Struct({row["output"]: pl.Float64 for row in rows})
    for row in rows:
        assert found.struct.field(row["output"]).equals(expected[row["column"]], null_equal=True)


def test_parameters_by_place_and_by_name() -> None:
    frame = ONE.select(
        a=pl.col("close").qf.rsi(7),
        b=pl.col("close").qf.rsi(period=7),
        c=pl.col("close").qf.ema(5, seed="first"),
        d=BARS.qf.atr(5, tr0=True),
        e=pl.col("close").qf.bb(10, 2.5).struct.field("pct"),
        f=pl.col("close").qf.rsi(7, numerics="talib"),
        g=pl.col("volume").qf.volume_ratio(5),
    )
    expected = column(
        ["rsi(7)", 'ema(5, seed="first")', "atr(5, tr0=true)", "bb(10, 2.5).pct", "volume_ratio(5)"], frame=ONE
    )
    names = ["a", "b", "c", "d", "e", "g"]
    columns = [expected.columns[k] for k in (1, 1, 2, 3, 4, 5)]
    for name, wanted in zip(names, columns, strict=True):
        assert frame[name].equals(expected[wanted], null_equal=True), name
    assert frame["f"].null_count() == 7


def test_over_symbols() -> None:
    shuffled = FRAME.sort("open_time", "symbol")
    for frame in (FRAME, shuffled):
        found = frame.select(
            rsi=pl.col("close").qf.rsi(14).over("symbol"),
            atr=BARS.qf.atr(14).over("symbol"),
            hist=pl.col("close").qf.macd().struct.field("hist").over("symbol"),
        )
        expected = column(["rsi(14)", "atr(14)", "macd(12,26,9).hist"], by="symbol", frame=frame)
        for name, wanted in zip(found.columns, expected.columns[2:], strict=True):
            assert found[name].equals(expected[wanted], null_equal=True), name


def test_group_by_and_lazy() -> None:
    last = FRAME.group_by("symbol", maintain_order=True).agg(rsi=pl.col("close").qf.rsi(14).last())
    expected = column(["rsi(14)"], by="symbol").group_by("symbol", maintain_order=True).last()
    assert last["rsi"].equals(expected["rsi"])
    lazy = FRAME.lazy().select(x=pl.col("close").qf.macd(), y=pl.col("close").qf.rsi() / 100)
    struct = pl.Struct({"line": pl.Float64, "signal": pl.Float64, "hist": pl.Float64})
    assert lazy.collect_schema() == {"x": struct, "y": pl.Float64}
    assert lazy.collect()["y"].equals(qf.compute(FRAME, ["rsi"])["rsi"] / 100)


def test_names_and_input_types() -> None:
    assert ONE.select(pl.col("close").qf.rsi()).columns == ["close"]
    assert ONE.select(pl.col("close").qf.rsi().alias("r")).columns == ["r"]
    whole = ONE.select(pl.col("close").cast(pl.Int64))
    assert whole.select(pl.col("close").qf.sma(3))["close"][2] == pytest.approx(whole["close"][:3].mean())
    chunks = pl.concat([ONE[:40], ONE[40:]], rechunk=False)
    assert chunks.select(pl.col("close").qf.rsi())["close"].equals(ONE.select(pl.col("close").qf.rsi())["close"])
    assert ONE.clear().select(pl.col("close").qf.rsi()).height == 0


def test_null_rows() -> None:
    holed = ONE.with_columns(pl.when(pl.int_range(pl.len()) == 60).then(None).otherwise("close").alias("close"))
    with pytest.raises(BadBarError, match='row 60: column "close"'):
        holed.select(pl.col("close").qf.rsi())
    found = holed.select(pl.col("close").qf.rsi(on_bad="null"))["close"]
    assert [i for i, x in enumerate(found) if x is None] == [*range(14), 60, 61]


def test_errors() -> None:
    with pytest.raises(AttributeError, match="no indicator 'rsx'"):
        _ = pl.col("close").qf.rsx
    with pytest.raises(FeatureSpecError, match="period"):
        pl.col("close").qf.rsi(0)
    with pytest.raises(SchemaError, match="is no parameter"):
        pl.col("close").qf.rsi(pl.col("high"))
    with pytest.raises(SchemaError, match=r'pl\.struct\("high", "low", "close"\)\.qf\.atr'):
        ONE.select(pl.col("close").qf.atr(14))
    with pytest.raises(SchemaError, match="atr reads 'low'"):
        ONE.select(pl.struct("high", "close").qf.atr(14))


def test_help_and_completion() -> None:
    expression = pl.col("close").qf
    assert dir(expression) == NAMES
    assert isinstance(expression, namespace.Indicators)
    assert expression.rsi.__name__ == "rsi"
    assert "Wilder" in expression.rsi.__doc__


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("import polars as pl, qtfeat; print(hasattr(pl.col('a'), 'qf'))", "True"),
        ("import qtfeat, sys; print('polars' in sys.modules)", "False"),
        ("import qtfeat, polars as pl; import qtfeat.polars_namespace; print(hasattr(pl.col('a'), 'qf'))", "True"),
    ],
)
def test_registered_on_import(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed
