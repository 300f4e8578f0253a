"""Writes deploy/grafana-dashboard.json: rows of panels, each a title, a unit and queries over the server's metrics."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "deploy" / "grafana-dashboard.json"
WIDTH, HEIGHT = 8, 8
RATE = "[$__rate_interval]"


def quantiles(metric: str, by: str, legend: str) -> list[tuple[str, str]]:
    """Return queries of the median and the 99th percentile of a histogram."""
    bucket = f"sum by (le, {by}) (rate({metric}_bucket{RATE}))"
    return [(f"histogram_quantile({q}, {bucket})", f"{legend} p{q * 100:g}") for q in (0.5, 0.99)]


PANELS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("Signals", "ops", [(f"sum by (lane, side) (rate(qtfeat_signals_total{RATE}))", "{{lane}} {{side}}")]),
    (
        "Signals by source",
        "ops",
        [(f"sum by (lane, source) (rate(qtfeat_signals_total{RATE}))", "{{lane}} {{source}}")],
    ),
    ("Bars by result", "ops", [(f"sum by (result) (rate(qtfeat_bars_total{RATE}))", "{{result}}")]),
    ("Seconds per stage", "s", quantiles("qtfeat_stage_seconds", "stage", "{{stage}}")),
    ("Seconds per request", "s", quantiles("qtfeat_request_seconds", "route", "{{route}}")),
    ("Requests", "reqps", [(f"sum by (status) (rate(qtfeat_request_seconds_count{RATE}))", "{{status}}")]),
    ("Drift index", "none", [("qtfeat_drift_index", "{{lane}}")]),
    ("Age of the training data", "s", [("qtfeat_model_age_seconds", "{{lane}}")]),
    ("Time until the model is stale", "s", [("qtfeat_model_expires_in_seconds", "{{lane}}")]),
    ("Loaded versions", "none", [("qtfeat_model_info", "{{lane}} {{version}}")]),
    ("Reloads", "none", [(f"sum by (result) (increase(qtfeat_reloads_total{RATE}))", "{{result}}")]),
    ("Requests refused", "ops", [(f"sum by (reason) (rate(qtfeat_turned_away_total{RATE}))", "{{reason}}")]),
    ("Symbols", "none", [("qtfeat_symbols", "universe"), ("qtfeat_symbols_ready", "ready")]),
    (
        "Requests in flight, event streams",
        "none",
        [("qtfeat_requests_in_flight", "requests"), ("qtfeat_subscribers", "event streams")],
    ),
    ("Lag of the streams", "s", [("qtfeat_stream_lag_seconds", "{{stream}}")]),
    (
        "Holes between bars, snapshots",
        "none",
        [(f"increase(qtfeat_gaps_total{RATE})", "holes"), (f"increase(qtfeat_snapshots_total{RATE})", "snapshots")],
    ),
    ("Memory", "bytes", [("process_resident_memory_bytes", "resident")]),
    ("CPU", "none", [(f"rate(process_cpu_seconds_total{RATE})", "cores")]),
]


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it; it asks for the data source."""
    source = {"type": "prometheus", "uid": "${source}"}
    panels = [
        {
            "id": number + 1,
            "type": "timeseries",
            "title": title,
            "datasource": source,
            "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
            "fieldConfig": {"defaults": {"unit": unit, "min": None if unit == "s" else 0}, "overrides": []},
            "targets": [
                {"refId": chr(65 + k), "expr": expr, "legendFormat": legend, "datasource": source}
                for k, (expr, legend) in enumerate(queries)
            ],
        }
        for number, (title, unit, queries) in enumerate(PANELS)
    ]
    variable = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "title": "qtfeat serving",
        "uid": "qtfeat-serving",
        "tags": ["qtfeat"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }


def main() -> int:
    """Write the file, or with --check tell whether it is up to date."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
