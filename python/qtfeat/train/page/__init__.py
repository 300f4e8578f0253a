"""The report: one HTML file that needs nothing else, for a browser and for paper."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qtfeat.errors import SchemaError
from qtfeat.train.evaluate import Evaluation
from qtfeat.train.page import charts, sections
from qtfeat.train.page.html import Raw, figure, number, section, text
from qtfeat.train.page.style import CSS

__all__ = ["report_html", "write_report"]

_START = (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width,initial-scale=1">'
)

Importance = Mapping[str, float] | Iterable[tuple[str, float]]


def write_report(
    path: str | Path,
    evaluation: Evaluation,
    verdicts_table: Any = None,
    manifest: Mapping[str, Any] | None = None,
    importance: Importance | None = None,
    quality: Any = None,
    title: str = "",
) -> Path:
    """Write the report; arguments as in `report_html`.

    The file is there whole or not at all, and has the same bytes each time.

    Returns:
        The path written.

    Raises:
        OSError: the folder cannot be written to.
        SchemaError: the folder is missing; as in `report_html`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise SchemaError(f"{path}: there is no folder {path.parent}; make it first")
    page = report_html(evaluation, verdicts_table, manifest, importance, quality, title).encode()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(page)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def report_html(
    evaluation: Evaluation,
    verdicts_table: Any = None,
    manifest: Mapping[str, Any] | None = None,
    importance: Importance | None = None,
    quality: Any = None,
    title: str = "",
) -> str:
    """Return the report as HTML text.

    Args:
        evaluation: what `evaluate` found.
        verdicts_table: what the gates decided: `Verdicts`, or the mapping of its `as_dict()`; None if none did.
        manifest: the manifest's values; nested mappings become dotted names.
        importance: feature names with their share, in any unit, not negative.
        quality: the quality report of the bars, or any text.
        title: heading of the page; the feature set of the manifest if empty.

    Raises:
        SchemaError: `verdicts_table` is neither.
    """
    verdicts = _verdicts(verdicts_table)
    name = title or str((manifest or {}).get("name") or (manifest or {}).get("feature_set") or "model")
    pairs = list(importance.items() if isinstance(importance, Mapping) else importance or ())
    body = "".join(
        (
            f"<h1>Model report: {text(name)}</h1>",
            f'<p class="soft">{text(_line(evaluation))}</p>',
            sections.headline(verdicts),
            sections.tiles(evaluation),
            sections.baselines(evaluation),
            _charts(evaluation, [(str(feature), float(share)) for feature, share in pairs]),
            sections.folds(evaluation),
            sections.classifier(evaluation),
            sections.gates(verdicts),
            sections.symbols(evaluation),
            sections.reasons(evaluation),
            sections.about(manifest, quality),
        )
    )
    return (
        f"{_START}<title>{text(name)}</title><style>{CSS}</style></head>\n<body><main>\n{body}</main></body></html>\n"
    )


def _line(result: Evaluation) -> str:
    pooled = result.pooled
    span = ""
    if result.folds:
        first, last = result.folds[0].info.test_start, result.folds[-1].info.test_end
        span = f", {first.astype('datetime64[D]')} to {last.astype('datetime64[D]')} UTC"
    return (
        f"{pooled.rows:,} out-of-sample predictions, symbols: {len(result.symbols)}, times: {pooled.timestamps:,}"
        f"{span}; horizon {result.horizon} bars of {number(result.interval_seconds / 60.0, 'g')} minutes. "
        "Every figure is out of sample unless it says train."
    )


def _charts(result: Evaluation, pairs: list[tuple[str, float]]) -> Raw:
    excess = ", less the mean of its timestamp" if result.form == "cross-section" else ""
    figures = (
        figure("Rank IC per fold", charts.fold_ic(result) if result.folds else ""),
        figure("Book, summed return", charts.equity(result), "Fixed capital, no compounding. Dotted: folds."),
        figure("Return by decile of the forecast", charts.deciles(result), f"Raw return to the horizon{excess}."),
        figure("Calibration", charts.calibration(result), "A bin on the dashed line says what happens."),
        figure("Confidence", charts.confidence(result)),
        figure("Confusion matrix", charts.confusion(result), "Shares of each true class."),
        *(figure("Feature importance" if i == 0 else "continued", c) for i, c in enumerate(charts.importance(pairs))),
    )
    return section("Charts", Raw(f'<div class="charts">{"".join(figures)}</div>'))


def _verdicts(given: Any) -> Mapping[str, Any] | None:
    if given is None:
        return None
    plain: Any = given.as_dict() if hasattr(given, "as_dict") else given
    judged = plain.get("verdicts") if isinstance(plain, Mapping) else None
    if not isinstance(judged, list | tuple) or not all(isinstance(v, Mapping) for v in judged):
        raise SchemaError("verdicts_table must be `Verdicts` of qtfeat.gates, or the mapping of its as_dict()")
    return dict(plain)
