"""The server under test in a process of its own: `python -m bench.serving.server ROOT SYMBOLS PORT ours|libraries`.

With `libraries`, XGBoost and LightGBM predict, as their Python packages do it; all else is the same server.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.serving.model import NAME
from qtfeat.serve import reload
from qtfeat.serve.model import ServedModel
from qtfeat.serve.server import Settings, serve
from qtfeat.train.models import Ensemble


class LibraryModel(ServedModel):
    """A version whose predictions come from the libraries, one thread each."""

    def __init__(self, saved: Any) -> None:
        super().__init__(saved)
        self._libraries = Ensemble.from_files(saved.files, threads=1)

    def predict(self, X: Any) -> Any:
        _, p, score = self._libraries.predict(X)
        return p, score

    def predict_row(self, x: Any) -> Any:
        p, score = self.predict(x[None])
        return tuple(p[0].tolist()), score.tolist()[0]


if __name__ == "__main__":
    root, symbols, port, kind = sys.argv[1:]
    if kind == "libraries":
        reload.ServedModel = LibraryModel  # type: ignore[misc]
    serve(Settings(models=Path(root), name=NAME, symbols=symbols.split(","), interval="1h", port=int(port)))
