"""Logging in and out, without JavaScript."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from speedtest_logger.dashboard import render
from speedtest_logger.dashboard.guard import ANYONE, Guard, cookie_name, is_secure, may
from speedtest_logger.dashboard.sessions import LONGEST_SECONDS
from speedtest_logger.dashboard.users import User

router = APIRouter(dependencies=[Depends(may(ANYONE))], include_in_schema=False)
asked = APIRouter(dependencies=[Depends(may("read", users_only=True))], include_in_schema=False)
FORM = "application/x-www-form-urlencoded"
MOST_FIELDS = 10


@router.get("/login")
async def show_login(request: Request) -> Response:
    """The form; who has logged in goes on, and so does everybody where nobody has to."""
    place = local_path(request.query_params.get("next", ""))
    if request.state.caller.scopes:
        return RedirectResponse(place, 303)
    return render.page(request, "login.html.j2", place=place, name="", problem=None)


@router.post("/login")
async def log_in(request: Request) -> Response:
    """Begin a session."""
    guard: Guard = request.app.state.guard
    said = await form_of(request)
    place, name = local_path(said.get("next", "")), said.get("name", "")
    if not guard.users:
        return RedirectResponse(place, 303)
    address = request.client.host if request.client else ""
    found = await guard.log_in(address, name, said.get("password", ""))
    log = request.app.state.log
    if isinstance(found, User):
        guard.sessions.end(request.cookies.get(cookie_name(request), ""))
        token = guard.sessions.begin(found)
        log.event("info", "logged_in", user=found.name, address=address)
        answer = RedirectResponse(place, 303)
        answer.set_cookie(
            cookie_name(request),
            token,
            max_age=LONGEST_SECONDS,
            secure=is_secure(request),
            httponly=True,
            samesite="lax",
        )
        return answer
    known = name if guard.users.get(name) else None  # what is no name may be a password in the wrong field
    log.event("warning", "login_failed", user=known, address=address, throttled=found is not None)
    if found is None:
        return render.page(request, "login.html.j2", 401, place=place, name=name, problem="Name or password is wrong.")
    seconds = max(1, round(found))
    problem = f"There were too many attempts: try again in {seconds} s."
    headers = {"Retry-After": str(seconds)}
    return render.page(request, "login.html.j2", 429, headers, place=place, name=name, problem=problem)


@asked.get("/auth", status_code=204)
async def show_auth() -> None:
    """Whether somebody has logged in: a front asks before it leads them to what has no login of its own."""


@router.post("/logout")
async def log_out(request: Request) -> Response:
    """End the session, and forget its cookie."""
    guard: Guard = request.app.state.guard
    guard.sessions.end(request.cookies.get(cookie_name(request), ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_name(request), secure=is_secure(request), httponly=True, samesite="lax")
    return answer


async def form_of(request: Request) -> dict[str, str]:
    """A form's fields, each once. Raises HTTPException 400 or 415."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"a form is expected: {FORM}")
    try:
        text = (await request.body()).decode("ascii")
        fields = parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise HTTPException(400, "this is no form") from error
    return {name: values[0] for name, values in fields.items() if len(values) == 1}


def local_path(text: str) -> str:
    r"""Where to go on: a path of ours, / where a text is anything else that a browser could take for an address.

    Browsers take \ for / and leave out tabs and line ends, so that text with one of them is not looked at further.
    """
    if not re.fullmatch(r"/(?![/\\])[!-\[\]-~]*", text) or len(text) > 2_000:
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc or parts.path in ("/login", "/logout") else text
