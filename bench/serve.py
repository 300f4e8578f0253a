"""Serving: tick to signal in process, and single predictions over loopback beside the libraries' own Python packages.

    python bench/serve.py                  # about a minute
    python bench/serve.py --seconds 1 --rounds 3

Over HTTP two equal servers run, one with this package's tree evaluator, one that calls XGBoost and LightGBM. A client
process asks them in turn, a few seconds each, and the figures are medians over the rounds. Their answers are compared,
bit for bit, with each other.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent / "tests"))

from bench.serving.model import BARS, SYMBOLS, market, publish
from bench.serving.ticks import measure
from gated import GOOD

HERE = Path(__file__).resolve().parent.parent
CONNECTIONS = (1, 32)
PROBES = 64
WHO = ("ours", "libraries")


def probes() -> list[Any]:
    """Bodies of single predictions from real feature rows."""
    import qtfeat as qf

    fs = qf.FeatureSet.load("kline17")
    table = qf.compute(market(), fs, by="symbol", time="open_time").select(list(fs.columns)).to_pylist()
    step = BARS // (PROBES // SYMBOLS) - 1
    rows = [table[k * BARS + 200 + i * step] for k in range(SYMBOLS) for i in range(PROBES // SYMBOLS - 2)]
    return [{"features": row} for row in rows]


@contextmanager
def server(root: Path, kind: str) -> Iterator[int]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ",".join(f"SIM{k:03}" for k in range(SYMBOLS))
    command = [sys.executable, "-m", "bench.serving.server", str(root), names, str(port), kind]
    with (root / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=HERE, stderr=log)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                if process.poll() is not None:
                    raise RuntimeError((root / f"{kind}.log").read_text()) from None
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def ask(port: int, connections: int, seconds: float, bodies: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.serving.client", str(port), str(connections), str(seconds)]
    done = subprocess.run(command, input=bodies, capture_output=True, text=True, cwd=HERE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["errors"]:
        raise AssertionError(f"{found['errors']} of {found['requests']} requests failed or changed their answer")
    return found


def same_answers(ours: dict[str, str], theirs: dict[str, str]) -> None:
    both = ours.keys() & theirs.keys()
    if not both or any(ours[probe] != theirs[probe] for probe in both):
        raise AssertionError("the two servers do not give the same answers")


def over_http(root: Path, seconds: float, rounds: int) -> list[dict[str, float]]:
    """One line per number of connections: p50 and p99 of both servers, and the median ratio at p50."""
    bodies = json.dumps(probes())
    lines = []
    with server(root, "ours") as ours, server(root, "libraries") as theirs:
        for connections in CONNECTIONS:
            pairs = [
                (ask(ours, connections, seconds, bodies), ask(theirs, connections, seconds, bodies))
                for _ in range(rounds + 1)
            ][1:]
            for a, b in pairs:
                same_answers(a["answers"], b["answers"])
            middle = {
                f"{who}_{q}": statistics.median(pair[k][q] for pair in pairs)
                for k, who in enumerate(WHO)
                for q in ("p50", "p99")
            }
            ratio = statistics.median(b["p50"] / a["p50"] for a, b in pairs)
            requests = sum(a["requests"] + b["requests"] for a, b in pairs)
            lines.append({"connections": connections, **middle, "ratio": ratio, "requests": requests})
    return lines


def text(line: dict[str, float]) -> str:
    ours, theirs = (f"p50 {line[f'{who}_p50']:,.0f} us, p99 {line[f'{who}_p99']:,.0f} us" for who in WHO)
    times = f"{line['ratio']:.2f}x at p50 over {line['requests']:,} requests;"
    return f"{line['connections']:>3} connections: {ours}; with the libraries {theirs}; {times}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each client run")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs per number of connections")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    with (Path(__file__).with_name("floors.toml")).open("rb") as file:
        limits = tomllib.load(file)["serve"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("training four boosters of 500 trees", flush=True)
        publish(root, GOOD)
        ticks = measure(root)
        stages = ", ".join(f"{name} {us:.1f}" for name, us in ticks.stages.items())
        held = ticks.p50 <= limits["tick_us"]
        print(f"tick to signal, in process: p50 {ticks.p50:.1f} us, p99 {ticks.p99:.1f} us ({stages}) over", end=" ")
        print(f"{ticks.calls:,} bars; at most {limits['tick_us']:g}{'' if held else ': MISSED'}", flush=True)
        lines = over_http(root, given.seconds, given.rounds)
        for line in lines:
            enough = line["ratio"] >= limits["ratio"]
            held &= enough
            print(text(line), f"at least {limits['ratio']:g}{'' if enough else ': MISSED'}", flush=True)
    if given.json:
        given.json.write_text(json.dumps({"ticks": ticks.__dict__, "http": lines}, indent=1) + "\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
