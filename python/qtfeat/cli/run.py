"""`qtfeat run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtfeat.cli.options import out as console
from qtfeat.train.run import run_main_job


def main_job(data: Path | None, **settings: Any) -> None:
    """Run the main job with the settings of `run_main_job` and print what it finds.

    Raises:
        QtfeatError: bad data or settings.
    """
    run_main_job(data, console=console, **settings)
