"""The two boosting libraries, loaded when they are needed."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from qtfeat.errors import QtfeatError


def library(name: str) -> Any:
    """Import XGBoost, LightGBM or a part of scikit-learn.

    Raises:
        QtfeatError: it is not installed.
    """
    # Threads that spin while they wait make a busy machine many times slower. Read once, when OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        return import_module(name)
    except ImportError as error:
        raise QtfeatError(f"training needs {name}, which is not installed: pip install 'qtfeat[train]'") from error
