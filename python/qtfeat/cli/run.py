"""`qtfeat run`: the main job."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from qtfeat.cli.options import out as console
from qtfeat.errors import GateFailed
from qtfeat.train.config import TrainConfig
from qtfeat.train.run import run_main_job

_TUNING = {field.name for field in fields(TrainConfig)}


def main_job(data: Path | None, **settings: Any) -> None:
    """Run the main job with the settings of `JobSettings` and `TrainConfig` and print what it finds.

    Raises:
        GateFailed: the model was rejected.
        QtfeatError: bad data or settings.
    """
    tuning = {name: settings.pop(name) for name in list(settings) if name in _TUNING}
    result = run_main_job(data, config=TrainConfig(**tuning), console=console, **settings)
    if result.status == "rejected":
        failed = len(result.verdicts.failures)
        raise GateFailed(f"{failed} gates failed; see {result.path / 'report.html'}", verdicts=result.verdicts)
