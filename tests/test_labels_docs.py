"""The examples of the pages on labels and synthetic windows run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.mark.parametrize("page", ["labels.md", "synthetic.md"])
def test_examples_run(page):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 2
    names: dict = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if page == "labels.md":
        assert len(names["data"].X) == 2
        assert not names["data"].synthetic.any()
