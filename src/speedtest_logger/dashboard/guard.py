"""Who may see what: every route says which scope it needs, and the application does not start with one that does not.

    @router.get("/api/v1/nodes")
    def nodes(caller: Annotated[Caller, Depends(may("read"))]) -> ...

    router = APIRouter(dependencies=[Depends(may("read"))])   # for all of its routes, a WebSocket's too

`may(ANYONE)` is for what needs no login: /health, /login, shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from speedtest_logger.dashboard import keys, problems, users
from speedtest_logger.dashboard.keys import SCOPES
from speedtest_logger.dashboard.sessions import Sessions
from speedtest_logger.dashboard.settings import Settings
from speedtest_logger.dashboard.throttle import Throttle
from speedtest_logger.dashboard.users import User

ANYONE = ""
OF_USERS = frozenset({"read", "raw", "quiet", "annotate", "logs"})
OPEN_MOUNTS = ("/static",)
COOKIE = "speedtest_session"
AT_ONCE = 2  # passwords that are looked at: each takes 32 MiB and a tenth of a second
MOST_WAITING = 20
BUSY_SECONDS = 5.0


@dataclass(frozen=True)
class Caller:
    """Who asks: a user's or a key's name, None where nobody has to say; and what they may."""

    name: str | None
    scopes: frozenset[str]
    is_user: bool = False  # somebody who has logged in


NOBODY = Caller(None, frozenset())
EVERYBODY = Caller(None, frozenset(SCOPES))  # where there are no users


class Guard:
    """Users, keys, shares and sessions of an application: `app.state.guard`."""

    def __init__(self, settings: Settings) -> None:
        self.users = users.load(settings.users_file)
        self.keys = keys.load(settings.keys_file)
        self.shares = keys.load_shares(settings.shares_file)
        self.sessions = Sessions(settings.state_dir / "sessions.json", self.users)
        self.throttle = Throttle()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    def caller(self, connection: HTTPConnection) -> Caller:
        """Who asks. Raises HTTPException for a key that is none, even where nobody needs one."""
        kind, _, text = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            if key := self.keys.find(text.strip()):
                return Caller(key.name, key.scopes)
            raise unauthorized("this key is unknown, or has expired")
        if not self.users:
            return EVERYBODY
        user = self.sessions.user_of(connection.cookies.get(cookie_name(connection), ""))
        return Caller(user.name, OF_USERS, is_user=True) if user else NOBODY

    async def log_in(self, address: str, name: str, password: str) -> User | float | None:
        """The user of a name and a password, None where they are wrong, or how long to wait before another try (s)."""
        if self._waiting >= MOST_WAITING:
            return BUSY_SECONDS
        if wait := self.throttle.attempt(address, name):
            return wait
        self._waiting += 1
        try:
            async with self._free:
                user = await run_in_threadpool(self.users.authenticate, name, password)
        finally:
            self._waiting -= 1
        if user:
            self.throttle.right(address, name)
        return user


class May(SecurityBase):
    """A FastAPI dependency: the caller, when they have a scope. Raises HTTPException 401 or 403."""

    def __init__(self, scope: str, *, users_only: bool = False) -> None:
        self.scope = scope
        self.users_only = users_only
        self.model = HTTPBearer(description="A key that `speedtest-dashboard new-key` printed.")
        self.scheme_name = "key"

    async def __call__(self, connection: HTTPConnection) -> Caller:
        """See FastAPI's dependencies."""
        guard: Guard = connection.app.state.guard
        try:
            caller = guard.caller(connection)
        except HTTPException:
            if self.scope != ANYONE:
                raise
            caller = NOBODY
        if self.scope not in {ANYONE, *caller.scopes}:
            if caller == NOBODY:
                raise unauthorized("log in, or send a key as Authorization: Bearer")
            raise HTTPException(403, f"{caller.name or 'you'} may not do this: it needs the scope {self.scope}")
        if self.users_only and not caller.is_user:
            raise HTTPException(403, "only who has logged in may do this, and no key")
        connection.state.caller = caller
        return caller


def may(scope: str, *, users_only: bool = False) -> May:
    """The dependency of a route that needs a scope: Depends(may("read")); `users_only`: no key has it."""
    if scope not in (ANYONE, *SCOPES):
        raise ValueError(f"{scope!r} is no scope: one of {', '.join(SCOPES)}")
    return May(scope, users_only=users_only)


def unauthorized(detail: str) -> HTTPException:
    """Nobody may do this without saying who they are."""
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the browser uses TLS: a front says so."""
    return connection.url.scheme in ("https", "wss")


def cookie_name(connection: HTTPConnection) -> str:
    """The session's cookie; with TLS no other host and no unencrypted page can set one of its name."""
    return f"__Host-{COOKIE}" if is_secure(connection) else COOKIE


@dataclass(frozen=True)
class Guarded:
    """A route with the scopes that it needs, all of them; none: anyone may. None: it does not say."""

    path: str
    methods: tuple[str, ...]  # none: a WebSocket, or a folder
    scopes: frozenset[str] | None
    users_only: bool = False


def routes_of(app: FastAPI) -> Iterator[Guarded]:
    """Every route of an application, in included routers too."""
    for route in iter_route_contexts(app.routes):
        asked = list(_asked_of(getattr(route, "dependant", None)))
        said = {each.scope for each in asked}
        if isinstance(route.original_route, Mount) and route.path in OPEN_MOUNTS:
            said.add(ANYONE)
        yield Guarded(
            route.path or "",
            tuple(sorted(route.methods or ())),
            frozenset(said - {ANYONE}) if said else None,
            any(each.users_only for each in asked),
        )


def _asked_of(dependant: Dependant | None) -> Iterator[May]:
    """What a route asks for by itself, by its routers, and by what else it depends on."""
    if dependant is None:
        return
    if isinstance(dependant.call, May):
        yield dependant.call
    for each in dependant.dependencies:
        yield from _asked_of(each)


def check_routes(app: FastAPI) -> None:
    """Raise AssertionError for a route that does not say who may use it."""
    unsaid = [route.path for route in routes_of(app) if route.scopes is None]
    if unsaid:
        raise AssertionError(f"no scope is declared for {', '.join(unsaid)}: add Depends(may(...))")


def describe(app: FastAPI, schema: dict[str, Any]) -> None:
    """Say in an OpenAPI document what each operation needs, and how problems look."""
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = problems.SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    components.setdefault("securitySchemes", {})["session"] = {"type": "apiKey", "in": "cookie", "name": COOKIE}
    problem = {
        "description": "What went wrong.",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for route in routes_of(app):
        for method in route.methods:
            operation = schema["paths"].get(route.path, {}).get(method.lower())
            if operation is None:
                continue
            scopes = sorted(route.scopes or ())
            operation["security"] = [{"key": scopes}, {"session": []}] if scopes else []
            refused = {"401": problem, "403": problem} if scopes else {}
            operation["responses"] = {**operation["responses"], **refused, "default": problem}
            if "422" in operation["responses"]:
                operation["responses"]["422"] = problem
