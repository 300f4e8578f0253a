"""The handlers: each decodes, calls one thing, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException, PermissionDeniedException
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter
from litestar.response import Stream

from qtfeat import registry
from qtfeat._times import UNITS, scalar_ns
from qtfeat.registry import Aliases
from qtfeat.serve import messages as m
from qtfeat.serve.ingest import ClosedBar
from qtfeat.serve.metrics import CONTENT_TYPE
from qtfeat.serve.predictor import infer, predict
from qtfeat.serve.reload import Reloader
from qtfeat.serve.service import Service
from qtfeat.serve.signal import Signal
from qtfeat.serve.view import model_facts, overview

# From so many rows on, a prediction leaves the event loop.
_ROWS_IN_LOOP = 64
_HEARTBEAT_SECONDS = 15.0
_PAGE = {
    "index.html": "text/html",
    "app.js": "text/javascript",
    "dom.js": "text/javascript",
    "link.js": "text/javascript",
    "style.css": "text/css",
    "icon.svg": "image/svg+xml",
    "api.html": "text/html",
    "api.js": "text/javascript",
}
_HEADERS = {
    "content-security-policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def _problems(*statuses: int) -> dict[int, ResponseSpec]:
    """Return the answers other than success that a handler may give, for the OpenAPI description."""
    always = (400, 401, 403, 408, 413, 415, 429, 503, 504)
    return {s: ResponseSpec(m.Problem, generate_examples=False, description="refused") for s in (*always, *statuses)}


@dataclass(slots=True)
class Context:
    """What the handlers use.

    Attributes:
        service: the running service.
        reloader: keeps its models current.
        bars: the one thread that bars pass through, in the order of the requests.
        root: folder of all models.
        name: the model.
    """

    service: Service
    reloader: Reloader
    bars: ThreadPoolExecutor
    root: Path
    name: str


async def check_scope(request: Request[Any, Any, Any]) -> None:
    """Let through only who holds the scope that the handler names; without tokens, everybody does.

    Litestar's own guards get a copy of the handler each time, which takes longer than a prediction.
    """
    wanted = request.route_handler.opt.get("scope")
    held: Any = request.scope.get("qtfeat.scopes")
    if wanted and held != "all" and wanted not in (held or ()):
        raise PermissionDeniedException(f"the token lacks the scope {wanted!r}")


def _context(state: State) -> Context:
    found: Context = state.context
    return found


# --- predictions without state ----------------------------------------------------------------------------------------


@post("/v1/predict", status_code=200, scope="predict", responses=_problems(409, 422))
async def predict_route(state: State, data: m.PredictRequest) -> m.PredictAnswer:
    """Predict from features by name, or from a window of bars; nothing is remembered."""
    service = _context(state).service
    model, policy = service.live.production, service.engine.policy
    rows = len(data.features) if isinstance(data.features, list) else len(data.bars or ())
    if rows <= _ROWS_IN_LOOP:
        return predict(model, policy, data, service.stale(model))
    return await asyncio.to_thread(predict, model, policy, data, service.stale(model))


@post("/v2/models/{model:str}/infer", status_code=200, scope="predict", responses=_problems(404, 409, 422))
async def infer_route(state: State, model: str, data: m.InferRequest) -> m.InferAnswer:
    """Predict by the Open Inference Protocol: columns by name, in any order."""
    context = _context(state)
    _same_model(context, model)
    service = context.service
    live, policy = service.live.production, service.engine.policy
    if sum(tensor.shape[0] for tensor in data.inputs) <= _ROWS_IN_LOOP * len(data.inputs):
        return infer(live, policy, data, service.stale(live))
    return await asyncio.to_thread(infer, live, policy, data, service.stale(live))


@get("/v2/models/{model:str}", scope="read", responses=_problems(404), sync_to_thread=False)
def model_route(state: State, model: str) -> dict[str, Any]:
    """Describe a model by the Open Inference Protocol."""
    context = _context(state)
    _same_model(context, model)
    live = context.service.live.production
    outputs = [("probabilities", "FP64", [-1, 3]), ("score", "FP64", [-1]), ("side", "BYTES", [-1])]
    return {
        "name": live.name,
        "versions": [live.version],
        "platform": "qtfeat",
        "inputs": [{"name": name, "datatype": "FP64", "shape": [-1]} for name in live.columns],
        "outputs": [
            {"name": name, "datatype": kind, "shape": shape}
            for name, kind, shape in (*outputs, ("confidence", "FP64", [-1]))
        ],
    }


def _same_model(context: Context, name: str) -> None:
    if name != context.name:
        raise NotFoundException(f"model {name[:64]!r} is not served here; {context.name!r} is")


# --- bars and signals -------------------------------------------------------------------------------------------------


@post("/v1/bars", status_code=200, scope="predict", responses=_problems(422))
async def bars_route(state: State, data: m.BarsRequest) -> m.BarsAnswer:
    """Take closed bars and answer with their signals; a bar that comes again gives no second one."""
    context = _context(state)
    unit = UNITS[data.time_unit]
    bars = [
        ClosedBar(b.symbol, scalar_ns(b.open_time, unit), (b.open, b.high, b.low, b.close, b.volume)) for b in data.bars
    ]
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(context.bars, _take, context.service, bars, data.forming)


def _take(service: Service, bars: list[ClosedBar], forming: bool) -> m.BarsAnswer:
    if forming:
        signals, refused = [service.peek(bar) for bar in bars], []
    else:
        out = service.take(bars)
        signals = out.signals
        refused = [m.Refused(bar.symbol, bar.time_ns, why) for bar, why in out.refused]
    live = service.live.production
    return m.BarsAnswer(signals[-1].model if signals else f"{live.name}/{live.version}", signals, refused)


@get("/v1/signals", scope="read", responses=_problems(), sync_to_thread=False)
def signals_route(
    state: State,
    symbol: Annotated[str | None, Parameter(max_length=64)] = None,
    lane: Literal["production", "shadow"] = "production",
    limit: Annotated[int, Parameter(ge=0, le=500)] = 0,
) -> list[Signal]:
    """Return the last signal of each symbol; with `limit`, that many of the latest of production, oldest first."""
    service = _context(state).service
    if limit:
        return [s for s in list(service.recent) if symbol in (None, s.symbol)][-limit:]

    # Copied in one step: the event loop does not wait for bars that are being taken.
    engine = service.engine
    found = list((engine.signals if lane == "production" else engine.shadow_signals).values())
    return [s for s in found if symbol in (None, s.symbol)]


@get("/v1/state", scope="read", responses=_problems(), sync_to_thread=True)
def state_route(state: State) -> dict[str, Any]:
    """Return everything that the live page shows."""
    return overview(_context(state).service)


@get("/v1/stream", scope="read", responses=_problems(), media_type="text/event-stream")
async def stream_route(state: State) -> Stream:
    """Send signals as they are made: events `signal`, `shadow` and `models`; a comment every 15 s."""
    return Stream(
        _events(_context(state).service), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _events(service: Service) -> AsyncIterator[bytes]:
    queue = service.subscribe()
    try:
        yield b": on\n\n"
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), _HEARTBEAT_SECONDS)
            except TimeoutError:
                event = b": still on\n\n"
            if event is None:
                return
            yield event
    finally:
        service.unsubscribe(queue)


# --- models -----------------------------------------------------------------------------------------------------------


@get("/v1/models", scope="read", responses=_problems(409), sync_to_thread=True)
def models_route(state: State) -> dict[str, Any]:
    """List the versions of the model, what is live, and why the last load failed, if it did."""
    context = _context(state)
    service = context.service
    versions = registry.list_versions(context.root, context.name)
    return {
        "name": context.name,
        "live": {lane: model_facts(model) for lane, model in _lanes(service).items()},
        "reload_error": service.reload_error,
        "versions": versions,
    }


def _lanes(service: Service) -> dict[str, Any]:
    live = service.live
    return {"production": live.production} | ({"shadow": live.shadow} if live.shadow else {})


@post("/v1/models/promote", status_code=200, scope="admin", responses=_problems(409, 422))
async def promote_route(state: State, data: m.PromoteRequest) -> m.AliasesAnswer:
    """Put a version into production, in the registry and here; the one before becomes `previous`."""
    context = _context(state)
    return _aliases(context, await context.reloader.promote(data.version))


@post("/v1/models/rollback", status_code=200, scope="admin", responses=_problems(409, 422))
async def rollback_route(state: State) -> m.AliasesAnswer:
    """Put the previous version back into production."""
    context = _context(state)
    return _aliases(context, await context.reloader.rollback())


@post("/v1/models/shadow", status_code=200, scope="admin", responses=_problems(409, 422))
async def shadow_route(state: State, data: m.ShadowRequest) -> m.AliasesAnswer:
    """Let a version see every bar beside production; null ends that."""
    context = _context(state)
    return _aliases(context, await context.reloader.shadow(data.version))


def _aliases(context: Context, found: Aliases) -> m.AliasesAnswer:
    live = context.service.live
    shadow = live.shadow.version if live.shadow else None
    error = context.service.reload_error
    return m.AliasesAnswer(found.production, found.shadow, found.previous, live.production.version, shadow, error)


# --- health, metrics, page --------------------------------------------------------------------------------------------


@get(["/health", "/v2/health/live"], responses=_problems(), sync_to_thread=False)
def health_route() -> dict[str, str]:
    """Tell that the process answers."""
    return {"status": "ok"}


_NOT_READY = {503: ResponseSpec(m.Ready, generate_examples=False, description="not ready")}


@get(["/ready", "/v2/health/ready"], responses=_problems() | _NOT_READY, sync_to_thread=False)
def ready_route(state: State, need: Literal["all", "any", "none"] = "all") -> Response[m.Ready]:
    """Tell whether symbols have seen enough bars: 200 if all (any, none) have and the process is not ending."""
    service = _context(state).service
    ready = service.ready()
    number = sum(ready.values())
    enough = {"all": number == len(ready), "any": number > 0, "none": True}[need]
    body = m.Ready(enough and not service.draining, len(ready), number)
    return Response(body, status_code=200 if body.ready else 503)


@get("/metrics", scope="read", responses=_problems(), media_type="text/plain", sync_to_thread=True)
def metrics_route(state: State) -> Response[bytes]:
    """Return Prometheus metrics."""
    return Response(_context(state).service.metrics.text(), headers={"content-type": CONTENT_TYPE})


@get(["/", "/page/{file:str}"], include_in_schema=False, sync_to_thread=False)
def page_route(file: str = "index.html") -> Response[bytes]:
    """Return the live page and what it is made of."""
    if file not in _PAGE:
        raise NotFoundException
    body = files("qtfeat.serve").joinpath("page", file).read_bytes()
    return Response(body, headers=_HEADERS, media_type=f"{_PAGE[file]}; charset=utf-8")


def request_id(request: Request[Any, Any, Any]) -> str:
    """Return the id of a request."""
    return str(request.scope.get("qtfeat.request_id", ""))


ROUTES = [
    predict_route,
    infer_route,
    model_route,
    bars_route,
    signals_route,
    state_route,
    stream_route,
    models_route,
    promote_route,
    rollback_route,
    shadow_route,
    health_route,
    ready_route,
    metrics_route,
    page_route,
]
