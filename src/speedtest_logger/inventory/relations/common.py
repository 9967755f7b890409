"""What relations of all roles use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from speedtest_logger.inventory import roles
from speedtest_logger.inventory.found import Problem, View, seen

LOGGER = "speedtest_logger_"
BACKUP = "speedtest_archive_backup_"
LIMIT = "speedtest_archive_limit_"
PUBLISH = "speedtest_archive_store_"
DASHBOARD = "speedtest_dashboard_"
FRONT = "speedtest_front_"
MONITORING = "speedtest_monitoring_"
DATABASE = "speedtest_database_"
STORE = "speedtest_store_"
Relation = Callable[[View], Iterator[Problem]]


def problem(view: View, variable: str, words: str) -> Problem:
    """A problem of a variable with its value on a host."""
    return Problem(variable, seen(roles.known()[variable], view[variable]), words)


def as_list(value: object) -> list[object]:
    """A list's items."""
    return list(value) if isinstance(value, (list, tuple)) else []


def as_mapping(value: object) -> Mapping[str, object]:
    """A mapping's items."""
    return value if isinstance(value, Mapping) else {}


def image_of(role: str) -> Relation:
    """An image to pull has a name, with its digest."""

    def image(view: View) -> Iterator[Problem]:
        if view[f"{role}_image_source"] == "pull" and not view[f"{role}_image"]:
            words = (
                f"{role}_image_source is pull: name the image with its digest, such as "
                f"registry.example.org/{role.replace('_', '-')}@sha256:…"
            )
            yield problem(view, f"{role}_image", words)

    return image
