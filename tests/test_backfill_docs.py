"""The examples of the pages on the lake and the backfill run as they stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from lakes import filled, tree
from qtfeat.backfill import run_backfill
from sizes import SOAK

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, kind: str = "") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"```python{kind and f' {kind}'}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("page", "count"), [("lake.md", 2), ("backfill.md", 4)])
def test_examples_run(page: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("distributed", "xgboost", "lightgbm"):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    if page == "backfill.md":
        filled(tmp_path / "lake")
    found, names = blocks(page), {}
    assert len(found) == count
    for block in found:
        # A cluster of processes takes seconds to come up; that they give the same bytes is tested elsewhere.
        here = block if SOAK else block.replace("n_workers=2, threads_per_worker=1", "processes=False")
        exec(compile(here, page, "exec"), names)
    if page == "lake.md":
        assert names["table"].num_rows == 2_000 - 31 * 24
        assert names["report"].complete
    else:
        assert (names["report"].skipped, len(names["data"].columns)) == (9, 32)
        assert names["model"].num_trees() == names["booster"].num_boosted_rounds() == 20


# Neither Ray nor Spark is among what the tests need. These stand-ins have the calls that the recipes make; outcomes
# come back in another order than items went in.


def ray() -> ModuleType:
    """Core tasks: run when they are waited for, the last one first."""
    module = ModuleType("ray")

    def remote(**options: Any) -> Callable[[Any], Any]:
        assert set(options) == {"max_retries"}
        return lambda task: SimpleNamespace(remote=lambda *given: (task, given))

    def wait(running: list[Any]) -> tuple[list[Any], list[Any]]:
        return running[-1:], running[:-1]

    vars(module).update(remote=remote, wait=wait, get=lambda one: one[0](*one[1]))
    return module


class Session:
    """A Spark session: a frame of paths, in pieces, through `mapInArrow`."""

    def createDataFrame(self, rows: list[Any], schema: str) -> Session:  # noqa: N802
        assert schema == "path string"
        self.paths = [path for (path,) in rows]
        return self

    def repartition(self, count: int) -> Session:
        assert count == len(self.paths)
        return self

    def mapInArrow(self, work: Any, schema: str) -> Session:  # noqa: N802
        self.work, self.columns = work, [part.split() for part in schema.split(", ")]
        return self

    def toLocalIterator(self) -> Iterator[Any]:  # noqa: N802
        kinds = {"string": pa.string(), "long": pa.int64(), "double": pa.float64(), "boolean": pa.bool_()}
        wanted = pa.schema([(name, kinds[kind]) for name, kind in self.columns])
        for path in reversed(self.paths):
            empty, batch = (pa.RecordBatch.from_pydict({"path": pa.array(p, pa.string())}) for p in ([], [path]))
            for made in self.work(iter([empty, batch])):
                assert made.schema == wanted
                for row in made.to_pylist():
                    yield SimpleNamespace(asDict=row.copy)


@pytest.mark.parametrize("kind", ["ray", "spark"])
def test_recipes_for_other_schedulers(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_backfill(filled(tmp_path / "threads"))
    filled(tmp_path / "lake")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", ray())
    (recipe,) = blocks("backfill.md", kind)
    names: dict[str, Any] = {"spark": Session()}
    exec(compile(recipe, "backfill.md", "exec"), names)
    assert names["report"].complete
    assert tree(tmp_path / "lake") == tree(tmp_path / "threads")
