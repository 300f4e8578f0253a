"""The live page in a real browser, and the monitor in the terminal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from browser import browsing, find

from qtfeat.serve.tokens import Tokens
from served import SYMBOLS, Client, bars_json, serving

needs_browser = pytest.mark.skipif(find() is None, reason="no Chromium on the PATH")
ROWS = "document.querySelectorAll('#universe tbody tr.row')"


@needs_browser
def test_the_page_shows_bars_as_they_come(shadowed, table, tmp_path):
    with serving(shadowed) as one, browsing(tmp_path / "profile") as page:
        one.client.post("/v1/bars", {"bars": bars_json(table, 0, 60)})
        page.call("Page.navigate", url=one.client.url)
        page.until("document.querySelector('#link')?.textContent === 'live'")
        page.until(f"{ROWS}.length === {SYMBOLS}")
        assert page.run("[...document.querySelectorAll('.card[data-lane]')].map(c => c.dataset.lane)") == [
            "production",
            "shadow",
        ]
        assert "of" in page.run("document.querySelector('.card summary').textContent")
        before = page.run("document.querySelector('#recent td').textContent")
        # The next bar comes over the event stream, long before the page would look again by itself.
        signals = one.client.post("/v1/bars", {"bars": bars_json(table, 60, 61)})[1]["signals"]
        page.until(f"document.querySelector('#recent td').textContent !== {before!r}", 4.0)
        shown = f"[...{ROWS}].map(r => [r.dataset.symbol, r.cells[1].textContent, r.cells[2].textContent])"
        wanted = [[s["symbol"], s["side"], f"{s['confidence']:.3f}"] for s in signals]
        page.until(f"JSON.stringify({shown}) === JSON.stringify({json.dumps(wanted)})", 4.0)
        page.run(f"{ROWS}[1].click()")
        page.until("document.querySelectorAll('.features > span').length === 17")
        page.run(
            "(() => { const f = document.querySelector('#filter'); f.value = '003'; "
            "f.dispatchEvent(new Event('input')); })()"
        )
        assert page.run(f"{ROWS}.length") == 1
        colours = []
        for scheme in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            colours.append(page.run("getComputedStyle(document.body).backgroundColor"))
        assert colours[0] != colours[1]
        one.end()
        page.until("document.querySelector('#link').textContent === 'not connected'")
        # What a browser says of a server that is gone is no fault of the page.
        assert not [text for text in page.problems if "ERR_CONNECTION_REFUSED" not in text]


@needs_browser
def test_the_page_asks_for_a_token_and_the_api_page_works(shadowed, tmp_path):
    tokens = Tokens()
    secret = tokens.add("desk", ["read"])
    tokens.save(tmp_path / "tokens.json")
    with serving(shadowed, "--tokens", str(tmp_path / "tokens.json")) as one, browsing(tmp_path / "profile") as page:
        page.call("Page.navigate", url=one.client.url)
        page.until("document.querySelector('#login')?.hidden === false")
        page.run(f"document.querySelector('#token').value = {secret!r}")
        page.run("document.querySelector('#login button').click()")
        page.until(f"{ROWS}.length === {SYMBOLS} && document.querySelector('#login').hidden")
        page.until("document.querySelector('#link').textContent === 'live'")
        page.call("Page.navigate", url=f"{one.client.url}/page/api.html")
        page.until("document.querySelector('#paths')?.textContent.includes('POST /v1/predict')")


def test_the_monitor_prints_the_state_of_a_server(shadowed, table):
    with serving(shadowed) as one:
        one.client.post("/v1/bars", {"bars": bars_json(table, 0, 60)})
        found = monitor(Client(one.port).url)
        assert found.returncode == 0, found.stderr
        for text in ("production", "shadow", "SIM000", "SIM003", "latency", "taken 240"):
            assert text in found.stdout
        assert one.end() == 0
        gone = monitor(Client(one.port).url)
        assert gone.returncode == 2
        assert "Traceback" not in gone.stderr


def monitor(url):
    command = [sys.executable, "-c", "from qtfeat.cli import main; main()", "monitor", "--once", "--url", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
