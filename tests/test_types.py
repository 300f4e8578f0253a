"""Types: the package is clean under mypy --strict, the stub is what the extension has, and users see real types."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="typing is checked with mypy")

ROOT = Path(__file__).resolve().parent.parent

USER = """\
import numpy as np
import pandas as pd
import qtfeat as qf

fs = qf.FeatureSet(["rsi(14)"], numerics="talib")
reveal_type(fs.columns)
reveal_type(fs.warmup)
stream = qf.Stream(fs, on_bad="null")
reveal_type(stream.push(1.0, 2.0, 0.5, 1.0, 3))
reveal_type(stream.snapshot())
reveal_type(qf.Stream.restore(fs, b""))
reveal_type(qf.PanelStream(fs, ["A"]).ready)
reveal_type(qf.ta.rsi(np.ones(3), 2))
reveal_type(qf.ta.macd(pd.Series([1.0])))
reveal_type(qf.verify({}, fs).ok)
reveal_type(qf.cpu())
try:
    qf.windows(np.ones((1, 2, 5)), fs)
except qf.BadBarError as error:
    reveal_type(error.row)
qf.FeatureSet(["rsi"], numerics="quick")
qf.ta.rsi(np.ones(3), "14")
qf.compute({}, fs, on_bad="drop")
stream.push(1.0)
"""

SEEN = [
    "list[str]",
    "dict[str, int]",
    "ndarray[tuple[Any, ...], dtype[float64]]",
    "bytes",
    "Stream",
    "ndarray[tuple[Any, ...], dtype[numpy.bool",
    "ndarray[tuple[",
    "Series",
    "bool",
    "str",
    "int | None",
]


def run(*args: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *args], capture_output=True, text=True, check=False, cwd=cwd)


def test_marked_as_typed() -> None:
    assert (resources.files("qtfeat") / "py.typed").is_file()


def test_the_package_is_strictly_typed() -> None:
    done = run("mypy")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["qtfeat._core", "qtfeat.ta"])
def test_stub_and_runtime_agree(module: str) -> None:
    done = run("mypy.stubtest", module)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_a_user_sees(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER, encoding="utf-8")
    done = run("mypy", "--strict", "--ignore-missing-imports", "user.py", cwd=tmp_path)
    revealed = [line.split('Revealed type is "', 1)[1] for line in done.stdout.splitlines() if "Revealed type" in line]
    assert len(revealed) == len(SEEN), done.stdout
    for shown, wanted in zip(revealed, SEEN, strict=True):
        plain = shown.replace("builtins.", "").replace("numpy.ndarray", "ndarray").replace("numpy.float64", "float64")
        assert wanted in plain.replace("numpy.dtype", "dtype"), f"{shown} is not {wanted}"
    wrong = {int(line.split(":")[1]) for line in done.stdout.splitlines() if " error: " in line}
    last = len(USER.splitlines())
    assert wrong == {last - 3, last - 2, last - 1, last}, done.stdout
