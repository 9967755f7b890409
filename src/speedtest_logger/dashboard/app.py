"""The application: the parts put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import BaseRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from speedtest_logger import __version__
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.archive.read import first_build
from speedtest_logger.archive.read.local_time import Zone
from speedtest_logger.archive.read.rollup import Rollups
from speedtest_logger.dashboard import api, guard, live, login, metrics, pages, problems
from speedtest_logger.dashboard.api.asked import NotModified, not_modified
from speedtest_logger.dashboard.counters import Counters
from speedtest_logger.dashboard.figures import Figures
from speedtest_logger.dashboard.gate import Gate, hosts_of
from speedtest_logger.dashboard.guard import ANYONE, Guard, may
from speedtest_logger.dashboard.health import health
from speedtest_logger.dashboard.keeper import Keeper
from speedtest_logger.dashboard.notes import Notes
from speedtest_logger.dashboard.pages.now import Once
from speedtest_logger.dashboard.remembered import Remembered
from speedtest_logger.dashboard.requests import Counted, Requests
from speedtest_logger.dashboard.settings import Settings
from speedtest_logger.log import Log

HERE = Path(__file__).parent
ANSWERED_AT_ONCE = 16  # questions: twice as many as may read the archive's own files; others wait, and take no memory
MOST_BODY = 64_000  # bytes of a form or a note
# nothing that is measured here goes anywhere else, whatever the environment says
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class Dashboard(FastAPI):
    """FastAPI's, except that a browser which follows the news holds nothing of it once it was let in."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            await live.attend(super().__call__, self.state, scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings, log: Log | None = None) -> FastAPI:
    """The application for an archive; `app.state` has settings, log and guard. Raises ConfigError."""
    app = Dashboard(
        title=settings.title,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # routes of our own, which say their scope
        routes=routes(),
        redirect_slashes=False,
        max_body_size=MOST_BODY,
        lifespan=at_work,
        telemetry=NO_TELEMETRY,
    )
    app.state.settings = settings
    app.state.log = log or Log(None)
    app.state.guard = Guard(settings)
    app.state.notes = Notes(settings.state_dir / "notes.jsonl")
    app.state.figures = figures_of(settings)
    app.state.drawn = Once()
    app.state.live = live.Live(app.state.figures, app.state.log)
    app.state.requests = Requests()
    counters = Counters(settings.state_dir / "counters.json")
    app.state.metrics = metrics.Metrics(app.state.figures, app.state.live, app.state.requests, counters, app.state.log)
    app.state.requests.know(app)
    problems.add_to(app)
    app.add_exception_handler(NotModified, not_modified)
    guard.check_routes(app)
    app.add_middleware(GZipMiddleware, minimum_size=1_000, compresslevel=3)
    app.add_middleware(Remembered, state=app.state)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    hosts = hosts_of(settings, users=bool(app.state.guard.users))
    app.add_middleware(Gate, settings=settings, log=app.state.log, hosts=hosts)
    app.add_middleware(Counted, requests=app.state.requests)  # the last one is the outermost
    return app


def figures_of(settings: Settings) -> Figures:
    """The figures of the settings' archive. Raises StorageError where another process has its rollups open."""
    zone = Zone.named(settings.time_zone)
    layout, file = Layout(settings.archive_dir), settings.state_dir / "rollup.duckdb"
    build = partial(first_build.in_a_process, layout, file, zone) if first_build.is_large(layout) else None
    return Figures(layout, Rollups(layout, file, zone, build), zone)


@asynccontextmanager
async def at_work(app: FastAPI) -> AsyncIterator[None]:
    """What goes on while the application serves."""
    current_default_thread_limiter().total_tokens = ANSWERED_AT_ONCE
    source = app.state.figures.source

    def ahead() -> None:
        app.state.figures.judge_ahead()
        app.state.metrics.count_ahead()

    keeper = Keeper(source, app.state.log, ahead)
    keeper.start()
    app.state.live.start()
    try:
        yield
    finally:
        await app.state.live.stop()
        keeper.stop()
        app.state.metrics.keep(now=True)
        source.rollups.close()


@cache
def routes() -> list[BaseRoute]:
    """Every part's routes: FastAPI works out once in a process what they take and answer."""
    made = APIRouter(max_body_size=MOST_BODY)

    @made.get("/health", dependencies=[Depends(may(ANYONE))], responses={503: {"description": "degraded"}})
    def show_health(request: Request) -> JSONResponse:
        """Whether the archive can be read and is being filled."""
        found = health(request.app.state.settings)
        return JSONResponse(found.to_json(), 503 if found.why else 200, {"Cache-Control": "no-store"})

    @made.get("/api/openapi.json", dependencies=[Depends(may("read"))], include_in_schema=False)
    def show_openapi(request: Request) -> dict[str, Any]:
        """The API's description."""
        return openapi(request.app)

    made.include_router(login.router)
    made.include_router(login.asked)
    made.include_router(pages.router)
    api.add_to(made)
    made.include_router(live.router)
    made.include_router(metrics.router)
    made.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    return made.routes


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once."""
    if app.openapi_schema is None:
        guard.describe(app, app.openapi())
    assert app.openapi_schema is not None
    return app.openapi_schema
