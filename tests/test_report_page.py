"""The report: one file that needs no other, escapes what it is given, and has the same bytes each time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from outofsample import change, made_up
from qtfeat.errors import SchemaError
from qtfeat.gates import Evidence, check
from qtfeat.train.evaluate import evaluate
from qtfeat.train.page import report_html, write_report
from qtfeat.train.page.svg import around, ticks

MANIFEST = {"feature_set": "kline17", "config": {"seed": 7}, "columns": ["a", "b"], "files": {"x": {"sha256": "0"}}}
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Checks nesting and keeps what a reader or a browser would see."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(self.words)


@pytest.fixture(scope="module")
def result():
    return evaluate(made_up(stamps=300))


@pytest.fixture(scope="module")
def verdicts(result):
    return check(Evidence(**result.evidence(), rows=10_000, label_leak=False, attempts=1, has_champion=False))


@pytest.fixture(scope="module")
def page(result, verdicts):
    return report_html(result, verdicts, MANIFEST, {"rsi": 2.0, "ret": 1.0}, "BTC: 3 gaps")


def test_needs_nothing_else(page):
    seen = Page(page)
    assert not {"script", "link", "img", "iframe", "object"} & set(seen.tags)
    assert not [value for name, value in seen.attributes if name in ("src", "href", "xlink:href")]
    assert not re.search(r"url\(|@import|https?://", page)
    assert "@media print" in page


def test_says_everything(page, result, verdicts):
    seen = Page(page)
    for title in ("Rank IC per fold", "Calibration", "Book, summed return", "Return by decile", "Confidence"):
        assert title in seen.text
    assert seen.tags.count("svg") == 7
    forecast = result.pooled.forecast
    assert f"{forecast.ic.mean:+.4f}" in seen.text
    assert f"{forecast.book.net * 1e4:+.1f} bp" in seen.text
    assert verdicts.allowed == "rejected"
    assert "Rejected" in seen.text
    for verdict in verdicts.verdicts:
        assert verdict.gate in seen.text
        assert verdict.sentence in seen.text
    for word in ("neg_momentum10", "neg_ret", "zero", "S014", "config.seed", "kline17", "66.7%", "BTC: 3 gaps"):
        assert word in seen.text
    assert "sha256" not in seen.text


def test_each_verdict_has_its_headline(result, verdicts):
    for allowed, words in (("production", "Passes"), ("shadow", "Shadow only"), ("rejected", "Rejected")):
        text = Page(report_html(result, {"allowed": allowed, "verdicts": []})).text
        assert words in text
    assert "Not gated" in Page(report_html(result)).text
    # the mapping of gates.json gives the same page
    assert report_html(result, json.loads(json.dumps(verdicts.as_dict()))) == report_html(result, verdicts)


@pytest.mark.parametrize("given", [5, "text", {}, {"verdicts": 3}, {"verdicts": ["x"]}])
def test_no_verdicts_are_refused(result, given):
    with pytest.raises(SchemaError, match="verdicts_table"):
        report_html(result, given)


def test_markup_in_names_is_text(result):
    evil = '<script>alert("x")</script>&'
    oos = made_up(stamps=60)
    named = evaluate(change(oos, symbols=(evil, *oos.symbols[1:])))
    verdicts = {
        "allowed": evil,
        "verdicts": [{"gate": evil, "passed": False, "sentence": evil, "value": evil, "limit": evil, "relation": evil}],
        "limits": {"hash": evil},
    }
    text = report_html(named, verdicts, {evil: evil, "a": {evil: [evil]}}, {evil: 1.0}, evil, title=evil)
    seen = Page(text)
    assert "script" not in seen.tags
    assert seen.text.count(evil) >= 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("symbols", [1, 6])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda o: o.take(np.zeros(len(o), dtype=bool)),
        lambda o: o.take(np.arange(len(o)) == 0),
        lambda o: o.take(o.fold != 2),
        lambda o: change(o, folds=()),
        lambda o: change(o, score=np.zeros(len(o)), p=np.tile([0.2381, 0.5239, 0.2380], (len(o), 1))),
        lambda o: change(o, value=np.zeros(len(o)), ret=np.zeros(len(o)), side=np.ones(len(o), dtype=np.int8)),
        lambda o: change(o, ret=np.full(len(o), np.nan), interval_seconds=float("nan")),
    ],
)
def test_degenerate_results_have_a_page(spoil, symbols):
    text = report_html(evaluate(spoil(made_up(symbols=symbols, stamps=60))), importance={"a": 0.0, "b": float("nan")})
    Page(text)
    assert not re.search(r"\b(nan|inf|NaN|None)\b", text)


def test_same_bytes_in_another_process(tmp_path, page, result, verdicts):
    here = write_report(tmp_path / "a.html", result, verdicts, MANIFEST, {"rsi": 2.0, "ret": 1.0}, "BTC: 3 gaps")
    assert here.read_bytes() == page.encode()
    code = (
        "from outofsample import made_up; from qtfeat.train.evaluate import evaluate;"
        "from qtfeat.train.page import write_report; import sys;"
        "write_report(sys.argv[1], evaluate(made_up(stamps=300)))"
    )
    for name, threads in (("b.html", "1"), ("c.html", "2")):
        env = {"PYTHONPATH": str(Path(__file__).parent), "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, env=env)
    assert (tmp_path / "b.html").read_bytes() == (tmp_path / "c.html").read_bytes()
    assert (tmp_path / "b.html").read_text() == report_html(result)


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch, result):
    path = tmp_path / "report.html"
    path.write_text("old")

    def stop(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_report(path, result)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_a_missing_folder_is_named(tmp_path, result):
    with pytest.raises(SchemaError, match=r"none/report\.html: there is no folder .*none; make it first"):
        write_report(tmp_path / "none" / "report.html", result)
    assert not list(tmp_path.iterdir())


def test_many_rebalances_do_not_make_a_large_file():
    oos = made_up(symbols=5, stamps=20_000, horizon=1)
    assert len(report_html(evaluate(oos))) < 120_000


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-0.0031, 0.0072), (1e-9, 3e-9), (-5e6, 1e6), (0.31, 0.3101)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 * (high - low) <= value <= high + 1e-9 * (high - low) for value in found)
    steps = np.diff(found)
    assert steps == pytest.approx(np.full(len(steps), steps[0]))
    lead = steps[0] / 10.0 ** np.floor(np.log10(steps[0]))
    assert min(abs(lead - round_one) for round_one in (1.0, 2.0, 2.5, 5.0, 10.0)) < 1e-6


def test_a_range_of_nothing_has_room():
    assert ticks(2.0, 2.0) == [2.0]
    low, high = around([])
    assert low < high
    low, high = around([float("nan"), 0.0])
    assert low < high
