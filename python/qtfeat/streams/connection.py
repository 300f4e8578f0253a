"""A connection to Redis that fails fast, and how long to wait before the next attempt."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from qtfeat.errors import SchemaError

if TYPE_CHECKING:
    from redis import Redis


def redis_module() -> Any:
    """The `redis` package. Raises ImportError that names the extra."""
    try:
        import redis
    except ImportError as error:
        raise ImportError('Redis streams need the redis package: pip install "qtfeat[redis]"', name="redis") from error
    return redis


def connect(url: str, *, timeout: float = 10.0) -> Redis:
    """A client of `redis://`, `rediss://` or `unix://`; nothing is sent yet.

    Args:
        url: the server.
        timeout: seconds that a reply may take beyond what it was asked to wait.

    Raises:
        SchemaError: not such a URL.
    """
    redis = redis_module()
    try:
        return redis.Redis.from_url(  # type: ignore[no-any-return,unused-ignore]
            url,
            # One form of replies whatever the server; whoever uses the client decides about retries.
            protocol=2,
            retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
            socket_timeout=timeout,
            socket_connect_timeout=5,
            decode_responses=False,
        )
    except ValueError as error:
        raise SchemaError(f"not a Redis URL: {error}") from error


def transient(error: Exception) -> bool:
    """True for what passes by itself: a server that is away, starting, or a replica for now."""
    redis = redis_module()
    e = redis.exceptions
    if isinstance(error, e.AuthenticationError | e.NoPermissionError):
        return False
    if isinstance(error, e.ConnectionError | e.TimeoutError | e.ReadOnlyError | e.BusyLoadingError | ConnectionError):
        return True
    return isinstance(error, e.ResponseError) and str(error).startswith(
        ("NOGROUP", "LOADING", "MASTERDOWN", "MISCONF", "OOM", "UNBLOCKED", "TRYAGAIN", "CLUSTERDOWN")
    )


class Backoff:
    """Waits that double from `first` to `longest` seconds, each drawn between nothing and its bound.

    Drawn, so that many consumers do not come back in the same moment.
    """

    def __init__(self, first: float = 0.1, longest: float = 10.0) -> None:
        self._first, self._longest, self._tries = first, longest, 0

    def next(self) -> float:
        """Seconds to wait now."""
        bound = min(self._longest, self._first * 2.0 ** min(self._tries, 30))
        self._tries += 1
        return random.uniform(0, bound)  # noqa: S311 - not for secrets

    def reset(self) -> None:
        """Start again from the first wait."""
        self._tries = 0
