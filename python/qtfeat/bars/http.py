"""A small HTTP client for downloads: retries with back-off, obeys rate limits, resumes a body that broke off."""

from __future__ import annotations

import http.client
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from qtfeat.errors import FetchError, SchemaError

_CHUNK = 1 << 16
# A server that sends less than this is as good as silent, though each byte resets the socket's time limit.
_STALL_BYTES_PER_SECOND = 256
_BUSY = (418, 429)
_TRY_AGAIN = (408, 425, 500, 502, 503, 504)
_ADVICE = {
    401: "the server wants credentials",
    403: "the server refuses; is the base URL right?",
    451: "the server refuses your region; another base URL may serve it",
}


class Stopped(Exception):
    """The client was told to stop."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a client is.

    Attributes:
        timeout: seconds without data before a connection counts as stalled.
        attempts: tries per request, the first included.
        backoff: seconds before the first retry; doubled each time, with up to half of it off by chance.
        longest_wait: seconds; a server that asks for a longer pause than this ends the request.
    """

    timeout: float = 30.0
    attempts: int = 6
    backoff: float = 0.5
    longest_wait: float = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole body with its status and headers (names in lower case)."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def time(self) -> float | None:
        """Return the server's clock in seconds since the epoch, rounded down; None if it did not say."""
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError):
            return None


class _Again(Exception):
    """A failed try; `wait` is what the server asked for in seconds."""

    def __init__(self, reason: str, wait: float | None = None, status: int | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.status = status


@dataclass(slots=True)
class _Body:
    """What has arrived of a body, and the tag under which the rest may be asked for."""

    data: bytearray = field(default_factory=bytearray)
    tag: str = ""


class Client:
    """Gets URLs; any number of threads may share one, and then they share its pauses.

    Args:
        policy: time limits and retries.
        on_bytes: called with the size of each piece that arrives.
    """

    def __init__(self, policy: Policy | None = None, on_bytes: Callable[[int], None] | None = None) -> None:
        self.policy = policy or Policy()
        self.retries = 0
        self._on_bytes = on_bytes or (lambda _size: None)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._not_before = 0.0
        self._chance = random.Random()  # noqa: S311

    def stop(self) -> None:
        """Make every request, running or to come, raise `Stopped`."""
        self._stop.set()

    def pause(self, seconds: float) -> None:
        """Let no thread start a request for so many seconds."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def get(self, url: str) -> Reply:
        """Return the body of a URL, whatever it takes within the policy.

        Raises:
            FetchError: the last try failed, with the reason; `status` 404 at once for what is not there.
            SchemaError: a URL that is not http or https.
            Stopped: after `stop`.
        """
        if urlsplit(url).scheme not in ("http", "https"):
            raise SchemaError(f"{url}: only http and https are fetched; say the base URL as in https://host")
        body = _Body()
        for attempt in range(1, self.policy.attempts + 1):
            self._wait_turn()
            try:
                return self._try(url, body)
            except _Again as problem:
                if attempt == self.policy.attempts:
                    text = f"{url}: {problem}, in each of {attempt} tries; try again later"
                    raise FetchError(text, url=url, status=problem.status) from problem
                self._before_retry(url, problem, attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def _before_retry(self, url: str, problem: _Again, attempt: int) -> None:
        with self._lock:
            self.retries += 1
        if problem.wait is not None and problem.wait > self.policy.longest_wait:
            text = f"{url}: {problem} and asks for a pause of {problem.wait:.0f} s; try again after that"
            raise FetchError(text, url=url, status=problem.status) from problem
        if problem.status in _BUSY:
            # The limit counts per address, so every thread holds back.
            self.pause(problem.wait if problem.wait is not None else self._backoff(attempt))
        else:
            self._sleep(problem.wait if problem.wait is not None else self._backoff(attempt))

    def _backoff(self, attempt: int) -> float:
        whole = min(self.policy.backoff * 2.0 ** (attempt - 1), self.policy.longest_wait)
        return whole * (1 - 0.5 * self._chance.random())

    def _wait_turn(self) -> None:
        while True:
            with self._lock:
                left = self._not_before - time.monotonic()
            self._sleep(max(0.0, left))
            if left <= 0:
                return

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(seconds) if seconds else self._stop.is_set():
            raise Stopped

    def _try(self, url: str, body: _Body) -> Reply:
        request = urllib.request.Request(url, headers={"User-Agent": "qtfeat", "Accept-Encoding": "identity"})  # noqa: S310
        if body.data and body.tag:
            request.add_header("Range", f"bytes={len(body.data)}-")
            request.add_header("If-Range", body.tag)
        try:
            with urllib.request.urlopen(request, timeout=self.policy.timeout) as response:  # noqa: S310
                self._read(response, body)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, bytes(body.data))
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(url, error, body) from error
        except TimeoutError as error:
            raise _Again(f"no data for {self.policy.timeout:g} s") from error
        except (http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise _Again(f"the connection failed ({reason})") from error

    def _read(self, response: http.client.HTTPResponse, body: _Body) -> None:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT or not _continues(response.headers, len(body.data)):
            body.data.clear()
        body.tag = _tag(response.headers)
        length = response.headers.get("Content-Length")
        whole = len(body.data) + int(length) if length and length.isdigit() else None
        mark, mark_size = time.monotonic(), len(body.data)
        while piece := response.read1(_CHUNK):
            body.data += piece
            self._on_bytes(len(piece))
            if self._stop.is_set():
                raise Stopped
            now = time.monotonic()
            if now - mark > self.policy.timeout:
                if len(body.data) - mark_size < _STALL_BYTES_PER_SECOND * self.policy.timeout:
                    raise _Again(f"hardly any data for {self.policy.timeout:g} s")
                mark, mark_size = now, len(body.data)
        if whole is not None and len(body.data) < whole:
            raise _Again(f"the body broke off after {len(body.data):,} of {whole:,} bytes")


def _continues(headers: Message, size: int) -> bool:
    return headers.get("Content-Range", "").startswith(f"bytes {size}-")


def _tag(headers: Message) -> str:
    """The validator for If-Range: a strong entity tag, else the date of the last change."""
    etag = headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _refusal(url: str, error: urllib.error.HTTPError, body: _Body) -> Exception:
    """What an HTTP error status means: try again, or give up."""
    status = error.code
    if status in _BUSY:
        return _Again(f"the server limits the rate (HTTP {status})", _retry_after(error.headers), status)
    if status in _TRY_AGAIN:
        return _Again(f"the server failed (HTTP {status})", _retry_after(error.headers), status)
    if status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        body.data.clear()
        return _Again("the server has no more of this body", status=status)
    detail = error.read(300).decode("utf-8", "replace").strip()
    advice = _ADVICE.get(status, "not there" if status == http.HTTPStatus.NOT_FOUND else detail or error.reason)
    return FetchError(f"{url}: HTTP {status}, {advice}", url=url, status=status)


def _retry_after(headers: Message) -> float | None:
    """Seconds that a Retry-After header asks for, given as a number or a date; None without one."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
