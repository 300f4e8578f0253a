"""The tutorial, as it is written: its script, its commands, and the refusal that it promises."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("xgboost")
pytest.importorskip("lightgbm")
pytest.importorskip("typer")

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")


def command(line: str):
    from typer.testing import CliRunner

    from qtfeat.cli.app import app

    words = shlex.split(line, comments=True)
    assert words[0] == "qtfeat"
    return CliRunner().invoke(app, words[1:])


def test_82_trades_end_in_a_refusal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (script,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(script, "make_trades.py", "exec"), {})
    train, listing, promote = re.findall(r"(?m)^    (qtfeat .*)$", PAGE)
    done = command(train + " --threads 1")
    assert done.exit_code == 3, done.output
    shown = re.search(r"(?m)^    (closed\.csv: .*\n)    (.*\n)    (.*\n)", PAGE)
    assert "".join(shown.groups()) in done.output
    for gate in re.findall(r"FAIL  (\S+)", PAGE):
        assert re.search(rf"FAIL +{re.escape(gate)}", done.output), gate
    assert "REJECTED" in done.output
    (version,) = (path.parent.name for path in Path("models/trades").glob("*/manifest.json"))
    assert version in command(listing).output
    assert command(promote.replace("e2f479562c18", version)).exit_code == 3
