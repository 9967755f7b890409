"""A node's settings taken together."""

from __future__ import annotations

from collections.abc import Iterator

from speedtest_logger import domains
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import server_host
from speedtest_logger.inventory.environment import environment
from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import LOGGER, as_list, problem
from speedtest_logger.inventory.settings import in_variables, variable_of
from speedtest_logger.node import config


def node_settings(view: View) -> Iterator[Problem]:
    """What the node itself would refuse of its settings."""
    settings, wrong = config.read(environment(view))
    for text in wrong:
        variable, _, words = text.partition(": ")
        name = variable_of(variable.partition("=")[0].removesuffix(" is not set"))
        if name not in view.bad:
            yield Problem(name, repr(variable.partition("=")[2])[:80], in_variables(words))
    for found in config.contradictions(settings):
        variable, words = variable_of(found.variable), in_variables(found.words)
        if not any(name == variable or name in words for name in view.bad):
            yield problem(view, variable, words)


def own_server(view: View) -> Iterator[Problem]:
    """No node measures itself, as far as names tell; the node looks at addresses."""
    if view[LOGGER + "own_server_allowed"] is not False:
        return
    names = ("ansible_host", "fleet_archive_address", LOGGER + "source_address")
    own = {view.host, *(str(view.values[name]) for name in names if view.values.get(name) and name not in view.bad)}
    for engine in ENGINES:
        variable = f"{LOGGER}{engine}_servers"
        if engine not in as_list(view[LOGGER + "engines"]) or variable in view.bad:
            continue
        for server in map(str, as_list(view[variable])):
            if server.isdigit():  # of a public list
                continue
            host = server_host(server).lower().rstrip(".")
            if host in {name.lower() for name in own} or domains.is_loopback(host):
                words = (
                    f"{server} is the node itself, so its line would not be measured: name a server on another "
                    f"machine, or set {LOGGER}own_server_allowed to true"
                )
                yield problem(view, variable, words)


def licence(view: View) -> Iterator[Problem]:
    """A program that is under a licence of its own needs it accepted."""
    for engine, program in ENGINES.items():
        licence_of = program.licence
        if engine not in as_list(view[LOGGER + "engines"]) or licence_of is None:
            continue
        if view[LOGGER + licence_of.setting] is not True:
            words = (
                f"speedtest_logger_engines names {engine}: set true if you accept {licence_of.owner}'s licence, or "
                f"leave {engine} out"
            )
            yield problem(view, LOGGER + licence_of.setting, words)
