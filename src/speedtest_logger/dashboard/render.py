"""Pages from templates. Everything that is put into one is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse

from speedtest_logger import __version__


@cache
def templates() -> Environment:
    """The templates; a value that is missing is an error."""
    place = FileSystemLoader(Path(__file__).parent / "templates")
    return Environment(
        autoescape=True,
        loader=place,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


def troubles_of(connection: HTTPConnection) -> list[Any]:
    """What makes figures doubtful, for whoever may see them."""
    caller = getattr(connection.state, "caller", None)
    found: list[Any] = connection.app.state.figures.troubles() if caller and "read" in caller.scopes else []
    return found


def page(
    connection: HTTPConnection,
    template: str,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> HTMLResponse:
    """A page; every template has the title, the version and who looks at it besides (`caller`, perhaps None)."""
    state = connection.app.state
    always = {
        "title": state.settings.title,
        "version": __version__,
        "zone": state.settings.time_zone,  # of days
        "caller": getattr(connection.state, "caller", None),
        "troubles": troubles_of(connection),
    }
    return HTMLResponse(templates().get_template(template).render({**always, **values}), status, headers)
