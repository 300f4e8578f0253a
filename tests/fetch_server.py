"""A local server with the archive's layout and the klines API, on which faults can be planted."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import struct
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pyarrow as pa

HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `status` answers so; `cut` closes after that share of the body; `flip` changes a byte of the body; `stall` sends
    nothing for so many seconds; `reset` resets the connection in mid-body; `drip` sends a byte at a time.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    cut: float = 0.0
    flip: bool = False
    stall: float = 0.0
    reset: bool = False
    drip: float = 0.0


@dataclass
class Site:
    """Files, faults by path (used up in order) and what was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    api: Callable[[str, dict[str, str]], tuple[int, dict[str, str], Any]] | None = None
    log: list[tuple[float, str, str]] = field(default_factory=list)
    etag: bool = True
    delay: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def asked(self) -> Counter[str]:
        return Counter(path for _, path, _ in self.log)

    def add(self, path: str, data: bytes) -> None:
        """A file and its checksum."""
        self.files[path] = data
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"{path}.CHECKSUM"] = f"{digest}  {path.rsplit('/', 1)[-1]}\n".encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path).lstrip("/")
        with self.site.lock:
            self.site.log.append((time.monotonic(), path, self.headers.get("Range", "")))
            waiting = self.site.faults.get(path)
            fault = waiting.pop(0) if waiting else Fault()
        time.sleep(self.site.delay)
        if fault.stall:
            time.sleep(fault.stall)
        if fault.status:
            self.reply(fault.status, b"planted", dict(fault.headers))
        elif self.site.api is not None and path.endswith("/klines"):
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, headers, answer = self.site.api(path, query)
            self.reply(status, json.dumps(answer).encode(), headers, fault)
        elif path not in self.site.files:
            self.reply(404, b"<Error><Code>NoSuchKey</Code></Error>", {})
        else:
            self.file(self.site.files[path], fault)

    def file(self, data: bytes, fault: Fault) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": tag} if self.site.etag else {}
        status = 200
        wanted = self.headers.get("Range")
        if wanted and self.headers.get("If-Range") == tag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
            data, status = data[first:], 206
        self.reply(status, data, headers, fault)

    def reply(self, status: int, data: bytes, headers: dict[str, str], fault: Fault = Fault()) -> None:
        if fault.flip:
            data = bytes([data[0] ^ 1]) + data[1:]
        self.send_response_only(status)
        headers = {"Date": self.date_time_string()} | headers
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        cut = int(len(data) * (fault.cut or (0.5 if fault.reset else 1)))
        try:
            if fault.drip:
                for i in range(len(data)):
                    self.wfile.write(data[i : i + 1])
                    time.sleep(fault.drip)
            self.wfile.write(data[:cut])
        except OSError:
            self.close_connection = True
            return
        if fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if cut < len(data):
            self.close_connection = True


class Server:
    """The site on a free local port, in threads."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("SiteHandler", (Handler,), {"site": site}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def klines(table: pa.Table, step_ms: int) -> list[list[Any]]:
    """Bars of one symbol as rows of the API: numbers as text, the rest made up but consistent."""
    times = np.asarray(table.column("open_time").cast(pa.int64()))
    values = [table.column(name).to_numpy() for name in ("open", "high", "low", "close", "volume")]
    rows = []
    for i, t in enumerate(times.tolist()):
        volume = float(values[4][i])
        quote = volume * float(values[3][i])
        texts = [repr(float(column[i])) for column in values]
        rows.append([t, *texts, t + step_ms - 1, repr(quote), i + 1, repr(volume / 2), repr(quote / 2), "0"])
    return rows


def kline_zip(rows: list[list[Any]], stem: str, *, header: bool = False, micros: bool = False) -> bytes:
    """A zip as the archive ships it; the same rows give the same bytes."""
    lines = [HEADER] if header else []
    for row in rows:
        first, last = row[0], row[6]
        if micros:
            first, last = first * 1_000, last * 1_000 + 999
        lines.append(",".join(map(str, [first, *row[1:6], last, *row[7:]])))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{stem}.csv", (2024, 1, 1, 0, 0, 0)), "\n".join(lines) + "\n")
    return out.getvalue()
