"""Settings of the whole suite: readable assertions in the helper modules, and what the run was about."""

from __future__ import annotations

import signal

import pytest

import qtfeat as qf
from sizes import SOAK

pytest.register_assert_rewrite("contract.bits", "contract.modes", "contract.adversary")


def pytest_configure() -> None:
    """Take Ctrl-C again where the shell has this run ignore it (a job in the background), as its children would too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    return f"qtfeat {qf.__version__} on {qf.cpu()}, slow suites {'whole' if SOAK else 'at 1/50 size'}"
