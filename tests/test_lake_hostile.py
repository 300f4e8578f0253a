"""Hostile lakes: manifests, names, times and roots that are none are refused by name, and manifests are mended."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakes import ONE, tree
from qtfeat.backfill import Lake, Partition, checks
from qtfeat.bars.simulate import simulate
from qtfeat.errors import SchemaError

BARS = simulate(symbols=2, bars=1_800, seed=3)
HOME = "bars/market=spot/symbol=SIM000/interval=1h"


@pytest.mark.parametrize("name", ["x" * 300, "Ä" * 100, "\udcff", ""])
def test_names_that_no_folder_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SchemaError, match="symbol"):
        Partition("spot", name, "1h")
    with pytest.raises(SchemaError, match="market"):
        Lake(tmp_path).add(BARS, name)


@pytest.mark.parametrize("root", [None, 5, b"lake", "", "a\0b"])
def test_what_is_no_lake(root: Any) -> None:
    with pytest.raises(SchemaError, match=r"a lake is a folder or a URL|names no folder"):
        Lake(root)


@pytest.mark.parametrize("url", ["nope://", "nope://lake", "s3://"])
def test_urls_of_nothing(url: str) -> None:
    pytest.importorskip("fsspec", reason="the extra backfill is not installed")
    with pytest.raises(SchemaError, match=r"names no folder|cannot open it"):
        Lake(url)


@pytest.mark.parametrize("names", ["SIM000", 5, [5]])
@pytest.mark.parametrize("what", ["markets", "symbols", "intervals"])
def test_names_are_a_list_of_texts(tmp_path: Path, what: str, names: Any) -> None:
    with pytest.raises(SchemaError, match=f"{what} must be a list of names"):
        Lake(tmp_path).partitions(**{what: names})


def test_times_that_features_cannot_count_are_refused(tmp_path: Path) -> None:
    times = BARS["open_time"].cast(pa.int64()).to_numpy().copy()
    times[7] *= 1_000  # microseconds taken for milliseconds
    far = BARS.set_column(1, "open_time", pa.array(times).cast(pa.timestamp("ms", tz="UTC")))
    with pytest.raises(SchemaError, match=r"row 7: .* is not between 1677 and 2262") as error:
        Lake(tmp_path).add(far, "spot")
    assert (error.value.column, error.value.row, error.value.value) == ("open_time", 7, times[7])
    with pytest.raises(SchemaError, match="no bars: a NoneType is no table"):
        Lake(tmp_path).add(None, "spot")


def _told(**values: Any) -> Callable[[dict[str, Any]], str]:
    def spoil(told: dict[str, Any]) -> str:
        told["months"][0] |= values
        return json.dumps(told)

    return spoil


MANIFESTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "nested": lambda _: "[" * 100_000,
    "nested months": lambda _: '{"format": 1, "months": ' + "[" * 100_000,
    "a list": lambda _: "[]",
    "months of a number": lambda t: json.dumps(t | {"months": 5}),
    "rows of text": _told(rows="x"),
    "rows of a flag": _told(rows=True),
    "rows not a number": _told(rows=float("nan")),
    "negative rows": _told(rows=-1),
    "hash of a number": _told(sha256=5),
    "time of text": _told(first="x"),
    "month of a number": _told(month=7),
    "month of a path": _told(month="../../x"),
    "a month twice": lambda t: json.dumps(t | {"months": [t["months"][0]] * 2}),
    "out of order": lambda t: json.dumps(t | {"months": t["months"][::-1]}),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_hostile_manifests_are_named_and_mended(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path)
    lake.add(BARS, "spot")
    path, before = tmp_path / HOME / "_manifest.json", tree(tmp_path)
    path.write_text(MANIFESTS[name](json.loads(path.read_text())))
    for use in (lambda: lake.months(ONE), lambda: lake.read(ONE), lambda: lake.add(BARS, "spot")):
        with pytest.raises(SchemaError, match=r"_manifest.json: damaged manifest .* run qtfeat lake repair"):
            use()
    assert any("damaged manifest" in str(p) for p in checks.check(lake, lake.partitions()))
    list(checks.repair(lake, lake.partitions()))
    assert tree(tmp_path) == before
