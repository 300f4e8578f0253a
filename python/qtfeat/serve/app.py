"""The HTTP application: handlers, errors and OpenAPI description, inside the guard."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from qtfeat.errors import FingerprintMismatch, GateFailed, QtfeatError, RegistryError
from qtfeat.serve.body import StrictRequest
from qtfeat.serve.guard import Guard, Limits
from qtfeat.serve.logs import log
from qtfeat.serve.messages import Problem
from qtfeat.serve.reload import Reloader
from qtfeat.serve.routes import ROUTES, Context, check_scope, request_id
from qtfeat.serve.service import Service
from qtfeat.serve.tokens import Tokens

AnyRequest = Request[Any, Any, Any]


def make_app(
    service: Service,
    root: str | Path,
    name: str,
    *,
    tokens: Tokens | None = None,
    limits: Limits | None = None,
    loopback: bool = True,
    watch_every: float = 0.5,
) -> Guard:
    """Return the ASGI application.

    Args:
        service: the running service.
        root: folder of all models.
        name: the model that is served.
        tokens: bearer tokens; none lets everybody do everything.
        limits: what one server takes.
        loopback: whether it listens on loopback only.
        watch_every: seconds between two looks at the alias file.
    """
    limits = limits or Limits()

    @contextlib.asynccontextmanager
    async def running(app: Litestar) -> AsyncIterator[None]:
        """Watch the aliases while the server runs; save the state when it ends."""
        bars = ThreadPoolExecutor(1, thread_name_prefix="bars")
        reloader = Reloader(service, root, name, every=watch_every)
        app.state.context = Context(service, reloader, bars, Path(root), name)
        watching = asyncio.create_task(reloader.watch())
        try:
            yield
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            bars.shutdown(wait=True)
            await asyncio.to_thread(service.end)

    app = Litestar(
        ROUTES,
        request_class=StrictRequest,
        before_request=check_scope,
        lifespan=[running],
        state=State(),
        exception_handlers={QtfeatError: _known, HTTPException: _http, Exception: _unknown},
        request_max_body_size=limits.body,
        logging_config=None,
        openapi_config=_openapi(),
    )
    return Guard(app, service, tokens or Tokens(), limits, loopback=loopback)


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="qtfeat serving",
        version=version("qtfeat"),
        description="Closed bars in, gated signals out. See /page/api.html.",
        path="/schema",
        render_plugins=[JsonRenderPlugin()],
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
        use_handler_docstrings=True,
    )


def _problem(
    request: AnyRequest, status: int, error: str, message: str, *, headers: Any = None, **fields: Any
) -> Response[Problem]:
    headers = {**(headers or {}), **({"retry-after": "1"} if status in (429, 503) else {})}
    body = Problem(status, error, message, request_id(request), **fields)
    return Response(body, status_code=status, headers=headers, media_type="application/json")


def _known(request: AnyRequest, error: QtfeatError) -> Response[Problem]:
    conflict = isinstance(error, (RegistryError, GateFailed, FingerprintMismatch))
    fields = {"column": error.column, "row": error.row, "symbol": error.symbol}
    return _problem(request, 409 if conflict else 422, type(error).__name__, str(error), **fields)


def _http(request: AnyRequest, error: HTTPException) -> Response[Problem]:
    text = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        parts = [f"{entry.get('key', '')}: {entry.get('message', '')}".strip(": ") for entry in error.extra[:5]]
        text = "; ".join(parts) or text
    return _problem(
        request, error.status_code, type(error).__name__.removesuffix("Exception"), text, headers=error.headers
    )


def _unknown(request: AnyRequest, error: Exception) -> Response[Problem]:
    log.log(logging.ERROR, "failed", exc_info=error, extra={"facts": {"request_id": request_id(request)}})
    return _problem(request, 500, "InternalError", "this is a bug; the log has it under the request id")
