"""Values that are right one by one and wrong together, on one host or in the whole fleet."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from speedtest_logger import __version__, domains, schedule
from speedtest_logger.alerts.rules import OF_ALL_NODES
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import server_host
from speedtest_logger.inventory import monitoring as watching
from speedtest_logger.inventory import roles
from speedtest_logger.inventory.environment import environment
from speedtest_logger.inventory.found import DASHBOARD as DASHBOARD_GROUP
from speedtest_logger.inventory.found import NODES, BadValueError, Inventory, Problem, Problems, View, seen
from speedtest_logger.inventory.settings import in_variables, variable_of
from speedtest_logger.inventory.tables.front import LETS_ENCRYPT
from speedtest_logger.node import config

LOGGER, BACKUP, LIMIT = "speedtest_logger_", "speedtest_archive_backup_", "speedtest_archive_limit_"
PUBLISH = "speedtest_archive_store_"
DASHBOARD, FRONT, MONITORING = "speedtest_dashboard_", "speedtest_front_", "speedtest_monitoring_"
DATABASE, STORE = "speedtest_database_", "speedtest_store_"
ROLES = (
    "speedtest_logger",
    "speedtest_archive",
    "speedtest_dashboard",
    "speedtest_database",
    "speedtest_store",
    "speedtest_target",
)
CONTAINED = ("speedtest_logger", "speedtest_dashboard")  # roles that can run in a container
Relation = Callable[[View], Iterator[Problem]]
ACCOUNTS = {role: f"{role}_user" for role in ROLES}
DIRECTORIES = {
    "speedtest_logger": ("install_dir", "config_dir", "state_dir", "log_dir"),
    "speedtest_archive": ("install_dir", "home_dir", "dir"),
    "speedtest_dashboard": ("install_dir", "dir"),
    "speedtest_database": ("install_dir", "dir"),
    "speedtest_store": ("install_dir", "dir"),
    "speedtest_target": ("dir", "config_dir"),
}
# What the roles make under names of their own.
OWN_ACCOUNTS = {
    "speedtest-backup": "backups have",
    "speedtest-front": "the front has",
    "speedtest-postgresql": "the database's server has",
    "speedtest-publish": "publishing has",
    "prometheus": "Debian's Prometheus has",
}
OWN_DIRECTORIES = {
    "speedtest_archive": ("/etc/speedtest-archive", "/var/cache/speedtest-backup"),
    "speedtest_dashboard": ("/etc/speedtest-dashboard",),
    "speedtest_database": ("/etc/speedtest-database",),
    "speedtest_front": ("/etc/speedtest-front", "/var/lib/speedtest-front"),
    "speedtest_store": ("/etc/speedtest-store",),
    "speedtest_monitoring": ("/etc/speedtest-monitoring", "/var/lib/speedtest-monitoring"),
}
KEY_LENGTH, KEY_VARIETY = 20, 8  # characters, and different ones, of a secret key
# Of each pair the first must not be below the second.
AT_LEAST = (
    ("rows_burst", "rows"),
    ("rows_burst", "rows_per_hour"),
    ("bytes_burst_mb", "payload_mb"),
    ("bytes_burst_mb", "bytes_per_hour_mb"),
    ("raw_burst_mb", "raw_per_hour_mb"),
    ("inbox_mb", "payload_mb"),
    ("raw_inbox_mb", "payload_mb"),
    ("raw_mb", "raw_day_mb"),
    ("log_inbox_mb", "log_day_mb"),
    ("probe_inbox_mb", "probe_day_mb"),
    ("low_disk_mb", "free_mb"),
)
# Ends of names that no public name server knows (RFC 6761, 6762, 8375, and what routers have).
NOT_PUBLIC = (".local", ".localhost", ".home.arpa", ".internal", ".lan", ".home", ".test", ".example", ".invalid")
WAYS_OUT = "raise speedtest_logger_interval, lower speedtest_logger_measure_timeout_seconds, or put fewer nodes on it"


def problem(view: View, variable: str, words: str) -> Problem:
    """A problem of a variable with its value on a host."""
    return Problem(variable, seen(roles.known()[variable], view[variable]), words)


def of_host(view: View, inventory: Inventory) -> Iterator[Problem]:
    """What is wrong on one host. A relation of which one value is wrong by itself is left out."""
    for role, relations in RELATIONS.items():
        for relation in relations if role in view.roles or not role else ():
            try:
                yield from list(relation(view))
            except BadValueError:
                continue
    for role in ("speedtest_logger", "speedtest_archive", "speedtest_dashboard", "speedtest_database"):
        if role in view.roles:
            yield from release(view, f"{role}_version", f"{role}_artifact_dir", inventory.checkout)
    if "speedtest_monitoring" in view.roles and not {MONITORING + "state", MONITORING + "addresses"} & view.bad:
        yield from monitoring_ways(view, inventory)


def accounts(view: View) -> Iterator[Problem]:
    """Each role has an account of its own, which is not the one that Ansible logs into."""
    names = [variable for role, variable in ACCOUNTS.items() if role in view.roles and variable not in view.bad]
    for one, other in combinations(names, 2):
        if view[one] == view[other]:
            yield problem(view, other, f"{one} is the same: give each role an account of its own")
    for variable in names:
        if whose := OWN_ACCOUNTS.get(view.text(variable)):
            yield problem(view, variable, f"{whose} an account of this name: give each an account of its own")
        if view[variable] == view.values.get("ansible_user"):
            yield problem(view, variable, "ansible_user is the same: a service needs an account of its own")


def directories(view: View) -> Iterator[Problem]:
    """No directory of ours is another one, or lies in it."""
    places = [
        (f"{role}_{name}", view.text(f"{role}_{name}"))
        for role, names in DIRECTORIES.items()
        for name in names
        if role in view.roles and f"{role}_{name}" not in view.bad
    ]
    places += [
        (variable, view.text(variable))
        for variable in (f"{BACKUP}repository", f"{PUBLISH}address")
        if "speedtest_archive" in view.roles and variable not in view.bad and view.text(variable).startswith("/")
    ]
    places += [("the role", path) for role, paths in OWN_DIRECTORIES.items() if role in view.roles for path in paths]
    for (one, path), (other, its) in combinations(places, 2):
        if f"{path}/".startswith(f"{its}/") or f"{its}/".startswith(f"{path}/"):
            variable, by = (one, f"{other} has {its}") if other == "the role" else (other, f"{one} is {path}")
            if variable != "the role":
                yield problem(view, variable, f"{by}: give each a directory of its own, none inside another")


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


def docker_key(view: View) -> Iterator[Problem]:
    """Docker's own packages need the key that they are signed with."""
    runtimes = [view[f"{role}_runtime"] for role in CONTAINED if role in view.roles]
    wanted = "compose" in runtimes and view["docker_host_source"] == "repository"
    if wanted and not view["docker_host_repository_key"]:
        words = (
            "docker_host_source is repository: set the key that its packages are signed with, nothing is trusted unseen"
        )
        yield problem(view, "docker_host_repository_key", words)


def backups(view: View) -> Iterator[Problem]:
    """A backup has a password, and something is kept of it."""
    if not view[f"{BACKUP}repository"]:
        return
    if not view[f"{BACKUP}password"]:
        words = f"backups to {view.text(f'{BACKUP}repository')} need one: keep it in a vault, and a copy elsewhere"
        yield problem(view, f"{BACKUP}password", words)
    if not any(view[f"{BACKUP}keep_{age}"] for age in ("daily", "weekly", "monthly")):
        yield problem(
            view, f"{BACKUP}keep_daily", "weekly and monthly are 0 too, so that no backup would stay: keep one"
        )


def publishing(view: View) -> Iterator[Problem]:
    """Who publishes to a bucket has a key of it."""
    address = view.text(f"{PUBLISH}address")
    if not address.startswith("s3://"):
        return
    for name, what in (("access_key", "the id of a key"), ("secret_key", "the key")):
        if not view[f"{PUBLISH}{name}"]:
            words = f"publishing to {address} needs {what} that may write there: set it, from a vault"
            yield problem(view, f"{PUBLISH}{name}", words)


def limits(view: View) -> Iterator[Problem]:
    """A bound lets through what another one allows."""
    for upper, lower in AT_LEAST:
        if {LIMIT + upper, LIMIT + lower} & view.bad:
            continue
        if view.number(LIMIT + upper) < view.number(LIMIT + lower):
            yield problem(view, LIMIT + upper, f"{LIMIT}{lower} is {view[LIMIT + lower]}: do not go below it")


def ports(view: View) -> Iterator[Problem]:
    """Each server of a target has a port of its own."""
    variable, port = "speedtest_target_librespeed_port", view["speedtest_target_librespeed_port"]
    if port in as_list(view["speedtest_target_iperf3_ports"]):
        yield problem(view, variable, "speedtest_target_iperf3_ports has it too: give each server a port of its own")
    if port == 80 and view["speedtest_target_stock_nginx_enabled"]:
        yield problem(
            view, variable, "speedtest_target_stock_nginx_enabled keeps Debian's own nginx on 80: choose another port"
        )


def dashboard(view: View) -> Iterator[Problem]:
    """What shows the archive is where the archive is."""
    if view[DASHBOARD + "state"] == "present" and view["speedtest_archive_state"] == "absent":
        words = "speedtest_archive_state is absent, and it shows what lies there: set absent here too"
        yield problem(view, DASHBOARD + "state", words)


def database(view: View) -> Iterator[Problem]:
    """What follows the archive is where the archive is; who reads a server elsewhere is made there."""
    if view[DATABASE + "state"] == "absent":
        return
    if view["speedtest_archive_state"] == "absent":
        words = "speedtest_archive_state is absent, and it follows what lies there: set absent here too"
        yield problem(view, DATABASE + "state", words)
    if view[DATABASE + "dsn"] and view[DATABASE + "reader_password"]:
        words = f"{DATABASE}dsn names a server elsewhere: make the role speedtest_reader there, and leave this out"
        yield problem(view, DATABASE + "reader_password", words)


def dashboard_access(view: View) -> Iterator[Problem]:
    """Who reaches the dashboard over a network has to log in."""
    if not domains.is_loopback(view.text(DASHBOARD + "bind")) and not view[DASHBOARD + "users"]:
        words = (
            f"{DASHBOARD}users names nobody, so whoever reaches this address would see everything: name users, or "
            "leave it at 127.0.0.1"
        )
        yield problem(view, DASHBOARD + "bind", words)


def dashboard_port(view: View) -> Iterator[Problem]:
    """Nobody else has a port of the dashboard's."""
    ports = dashboard_ports(view)
    targets = "speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"
    for place, variable in enumerate(ports):
        for other in (*ports[:place], *(targets if "speedtest_target" in view.roles else ())):
            if other not in view.bad and view[variable] in (view[other], *as_list(view[other])):
                yield problem(view, variable, f"{other} has it too: give each server a port of its own")


def workbench(view: View) -> Iterator[Problem]:
    """A workbench has no login of its own, so that a front is before it; and it runs as a service."""
    variable = DASHBOARD + "workbench_enabled"
    if not view[variable] or view[DASHBOARD + "state"] == "absent":
        return
    if view[DASHBOARD + "runtime"] == "compose":
        words = f"{DASHBOARD}runtime is compose, and the image has no workbench: set the runtime systemd, or false here"
        yield problem(view, variable, words)
    if "speedtest_front" not in view.roles or view[FRONT + "state"] == "absent":
        words = (
            "it has no login of its own, and the front lets in only who has logged in at the dashboard: put the host "
            "into group speedtest_front, or set false"
        )
        yield problem(view, variable, words)


def dashboard_ports(view: View) -> list[str]:
    """The variables of the ports that the dashboard and its workbench listen on."""
    return [DASHBOARD + "port", *([DASHBOARD + "workbench_port"] if view[DASHBOARD + "workbench_enabled"] else [])]


def front(view: View) -> Iterator[Problem]:
    """What is before the dashboard has a name, and a dashboard of which only those who log in see anything."""
    if view[FRONT + "state"] == "absent":
        return
    if view[DASHBOARD + "state"] == "absent":
        words = f"{DASHBOARD}state is absent, and it leads there: set absent here too"
        yield problem(view, FRONT + "state", words)
    if not view[FRONT + "name"]:
        words = "browsers reach the dashboard under it: set the host's name, such as speed.example.org"
        yield problem(view, FRONT + "name", words)
    if not view[DASHBOARD + "users"]:
        words = "whoever reaches the front would see everything: name users, or leave the host out of speedtest_front"
        yield problem(view, DASHBOARD + "users", words)
    if not domains.is_loopback(view.text(DASHBOARD + "bind")):
        words = "the dashboard would be reached beside its front, without TLS: leave it at 127.0.0.1"
        yield problem(view, DASHBOARD + "bind", words)


def front_certificate(view: View) -> Iterator[Problem]:
    """What the front's certificate is made from is there, and can be one of this name."""
    if view[FRONT + "state"] == "absent":
        return
    kind, directory = view[FRONT + "tls"], view.text(FRONT + "acme_directory")
    if kind == "acme" and directory == LETS_ENCRYPT and not is_public(view.text(FRONT + "name")):
        words = (
            "Let's Encrypt gives certificates for public names only: take one that the Internet's name servers know, "
            f"set {FRONT}acme_directory to a server of your own, or {FRONT}tls to internal"
        )
        yield problem(view, FRONT + "name", words)
    ca = FRONT + "acme_ca_file"
    if kind == "acme" and view[ca] and not readable(view.text(ca)):
        yield problem(view, ca, "there is no such file on the control machine, or it cannot be read")
    if kind == "files":
        yield from front_files(view)


def front_files(view: View) -> Iterator[Problem]:
    """Certificate and key are there, and belong together."""
    names = (FRONT + "certificate_file", FRONT + "key_file")
    missing = [name for name in names if not view[name] or not readable(view.text(name))]
    for name in missing:
        words = f"{FRONT}tls is files: name a PEM file on the control machine that can be read"
        yield problem(view, name, words)
    if missing:
        return
    certificate, key = (view.text(name) for name in names)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        words = f"it is no PEM certificate to the key {key}, which must have no passphrase ({why}): name two that fit"
        yield problem(view, FRONT + "certificate_file", words)


def front_ports(view: View) -> Iterator[Problem]:
    """Nobody else on the host has the front's ports."""
    http, https = FRONT + "http_port", FRONT + "https_port"
    if view[FRONT + "state"] == "absent":
        return
    if view[http] == view[https]:
        yield problem(view, https, f"{http} is the same: give each a port of its own")
    others = dashboard_ports(view)
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
        if view["speedtest_target_stock_nginx_enabled"] and 80 in (view[http], view[https]):
            words = "Debian's own nginx would keep port 80, which the front needs: set false, or another port"
            yield problem(view, "speedtest_target_stock_nginx_enabled", words)
    for port in (http, https):
        for other in others:
            if other not in view.bad and view[port] in (view[other], *as_list(view[other])):
                yield problem(view, port, f"{other} has it too: give each server a port of its own")


def front_named(view: View) -> Iterator[Problem]:
    """A front's name says that there is one."""
    if "speedtest_front" not in view.roles and view.values.get(FRONT + "name"):
        words = "this host is not in group speedtest_front, so that nothing is there: put it into it, or leave this out"
        yield problem(view, FRONT + "name", words)


def monitoring_people(view: View) -> Iterator[Problem]:
    """Who is told by mail is told by somebody, over a server."""
    if view[MONITORING + "state"] == "absent":
        return
    for name, what in (("mail_smarthost", "a server"), ("mail_from", "a sender")):
        if view[MONITORING + "mail_to"] and not view[MONITORING + name]:
            yield problem(view, MONITORING + name, f"{MONITORING}mail_to names people: mail needs {what} too")
    for login in ("mail", "remote_write"):
        username, password = f"{MONITORING}{login}_username", f"{MONITORING}{login}_password"
        if view[username] and not view[password]:
            yield problem(view, password, f"{username} is set: a login needs a password, from a vault")
    if view[MONITORING + "remote_write_username"] and view[MONITORING + "remote_write_token"]:
        words = f"{MONITORING}remote_write_username is set too: give a login or a token, not both"
        yield problem(view, MONITORING + "remote_write_token", words)


def monitoring_ports(view: View) -> Iterator[Problem]:
    """Prometheus and Alertmanager have ports that nobody else has."""
    if view[MONITORING + "state"] == "absent" or view[MONITORING + "mode"] == "files":
        return
    others = dashboard_ports(view) if "speedtest_dashboard" in view.roles else []
    others += [MONITORING + "exporter_port"] if view[MONITORING + "exporter_enabled"] else []
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
    ports = [MONITORING + "port", MONITORING + "alertmanager_port"]
    for place, variable in enumerate(ports):
        for other in (*ports[:place], *others):
            if other not in view.bad and view[variable] in (view[other], *as_list(view[other])):
                yield problem(view, variable, f"{other} has it too: give each server a port of its own")


def monitoring_ways(view: View, inventory: Inventory) -> Iterator[Problem]:
    """Nodes know who may ask them, and the dashboard is where the monitoring host reaches it."""

    def value(host: str, name: str) -> object:
        values, default = inventory.hosts.get(host, {}), roles.known()[name].default
        return values.get(name, None if default is ... or "{{" in str(default) else default)

    if view[MONITORING + "state"] == "absent":
        return
    try:
        fleet = watching.fleet(value, inventory.groups, view.host)
        others = [node for node in inventory.groups.get(NODES, []) if node != view.host] if fleet["nodes"] else []
        addresses = watching.addresses_of(value, view.host)
    except (TypeError, ValueError):  # a value that is wrong by itself is named already
        return
    if others and not addresses:
        words = "nodes answer nobody but these, and ansible_host is a name: name the addresses that it asks from"
        yield problem(view, MONITORING + "addresses", words)
    shown = [host for host in inventory.groups.get(DASHBOARD_GROUP, []) if host != view.host]
    if shown and not fleet["dashboard"] and not view[MONITORING + "dashboard_url"]:
        words = (
            f"the dashboard on {shown[0]} listens on loopback: put this host's group speedtest_monitoring there, put "
            "a front before the dashboard, or name the URL under which this host reaches it"
        )
        yield problem(view, MONITORING + "dashboard_url", words)


def store_keys(view: View) -> Iterator[Problem]:
    """Nobody opens a store without a key, or with one that can be guessed."""
    if view[STORE + "state"] == "absent":
        return
    access, secret = view.text(STORE + "access_key"), view.text(STORE + "secret_key")
    if not access:
        yield problem(view, STORE + "access_key", "whoever writes there needs a key: set its id, from a vault")
    make = "`openssl rand -hex 20` makes one; keep it in a vault"
    if not secret:
        yield problem(view, STORE + "secret_key", f"whoever writes there needs a key: {make}")
    elif len(secret) < KEY_LENGTH or len(set(secret)) < KEY_VARIETY or (access and access in secret):
        words = f"it can be guessed ({KEY_LENGTH} characters at least, not all alike, without the id in it): {make}"
        yield problem(view, STORE + "secret_key", words)


def store_ports(view: View) -> Iterator[Problem]:
    """Nobody else on the host has a port of the store's parts."""
    first = int(view.number(STORE + "port"))
    mine = {port + more for port in range(first, first + 4) for more in (0, 10_000)}
    others = dashboard_ports(view) if "speedtest_dashboard" in view.roles else []
    others += [FRONT + "http_port", FRONT + "https_port"] if "speedtest_front" in view.roles else []
    others += [MONITORING + "port", MONITORING + "alertmanager_port"] if "speedtest_monitoring" in view.roles else []
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
    for other in others if view[STORE + "state"] == "present" else ():
        if other not in view.bad and mine & set(as_list(view[other]) or [view[other]]):
            words = (
                f"{other} is one of {first} to {first + 3}, or of those plus 10000, which the store has: choose another"
            )
            yield problem(view, STORE + "port", words)


def is_public(name: str) -> bool:
    """Whether a name may be one that the Internet's name servers know."""
    return "." in name and not name.endswith(NOT_PUBLIC)


def readable(path: str) -> bool:
    """Whether a file of the control machine can be read."""
    return Path(path).is_file() and os.access(path, os.R_OK)


def release(view: View, variable: str, directory: str, checkout: Path) -> Iterator[Problem]:
    """A version is this checkout's, or its artifact is there."""
    if variable in view.bad or directory in view.bad or view[variable] == __version__:
        return
    place = Path(view.text(directory)) if directory in view.values else checkout / "dist"
    artifact = place / f"speedtest-logger-{view[variable]}.tar.gz"
    if not artifact.is_file():
        words = (
            f"this checkout is {__version__} and there is no {artifact}: set {__version__}, or put the artifact there"
        )
        yield problem(view, variable, words)


RELATIONS: dict[str, tuple[Relation, ...]] = {
    "": (accounts, directories, docker_key),
    "speedtest_logger": (node_settings, own_server, licence, image_of("speedtest_logger")),
    "speedtest_archive": (backups, publishing, limits),
    "speedtest_dashboard": (
        *(dashboard, dashboard_access, dashboard_port, workbench),
        *(front_named, image_of("speedtest_dashboard")),
    ),
    "speedtest_database": (database,),
    "speedtest_front": (front, front_certificate, front_ports),
    "speedtest_monitoring": (monitoring_people, monitoring_ports),
    "speedtest_store": (store_keys, store_ports),
    "speedtest_target": (ports,),
}


def as_list(value: object) -> list[object]:
    """A list's items."""
    return list(value) if isinstance(value, (list, tuple)) else []


def as_mapping(value: object) -> Mapping[str, object]:
    """A mapping's items."""
    return value if isinstance(value, Mapping) else {}


def claim_of_node(node: str, uplink: str, interval: str, length: int, watched: int) -> schedule.Claim:
    """A node's wish for slots; a node without an uplink has a line of its own."""
    needed = length + schedule.GUARD_SECONDS + watched  # the line is watched before the test begins
    return schedule.Claim(node, uplink or f"only {node}", schedule.parse_duration(interval), needed)


def of_fleet(nodes: list[View], problems: Problems) -> None:
    """What is wrong with the nodes taken together: names that are not their own, uplinks without enough room."""
    by_name: dict[str, list[str]] = {}
    for view in nodes:
        by_name.setdefault(view.text(LOGGER + "node_name"), []).append(view.host)
    for name, hosts in by_name.items():
        if len(hosts) > 1:
            problems.add(Problem(LOGGER + "node_name", repr(name), "give each a name of its own"), *hosts)
    if any(len(hosts) > 1 for hosts in by_name.values()):
        return
    by_uplink: dict[str, list[schedule.Claim]] = {}
    for view in nodes:
        made = claim_of(view)
        by_uplink.setdefault(made.uplink, []).append(made)
    for uplink, claims in by_uplink.items():
        try:
            schedule.assign(claims, {})
        except schedule.DoesNotFitError as error:
            words = str(error).partition(": ")[2]
            problems.add(Problem(LOGGER + "uplink", repr(uplink), f"{words}: {ways_out(uplink, nodes, claims)}"))


def alerts_of_locations(nodes: list[View], problems: Problems) -> None:
    """Nodes of one location that say different things of what is judged of all of them together."""
    alerts = LOGGER + "alerts"
    by_location: dict[str, list[View]] = {}
    for view in nodes:
        by_location.setdefault(view.text(LOGGER + "location"), []).append(view)
    for location, (first, *others) in by_location.items():
        for view in others:
            for rule in OF_ALL_NODES:
                own, theirs = (as_mapping(each[alerts]).get(rule) for each in (view, first))
                if own != theirs:
                    says = "leaves it out" if theirs is None else f"has {theirs!r:.80}"
                    words = (
                        f"{first.host} of the same location ({location}) {says}: {rule} is judged of all nodes of a "
                        "line together: say the same of both, in the variables of a group for the location"
                    )
                    problems.add(
                        Problem(alerts, "nothing" if own is None else f"{rule}: {own!r:.80}", words), view.host
                    )


def ways_out(uplink: str, nodes: list[View], claims: list[schedule.Claim]) -> str:
    """What makes nodes fit on their uplink, with the longest measure_timeout_seconds that does."""
    timeouts = {view.number(LOGGER + "measure_timeout_seconds") for view in nodes if claim_of(view).uplink == uplink}
    around = {claim.length for claim in claims}
    if len(timeouts) > 1 or len(around) > 1:
        return WAYS_OUT
    fitting = int(timeouts.pop() - around.pop() + schedule.longest_fitting(claims))
    if fitting < 1:
        return WAYS_OUT
    return WAYS_OUT.replace("measure_timeout_seconds", f"measure_timeout_seconds to {fitting} or less")


def claim_of(view: View) -> schedule.Claim:
    """A node's wish for slots from its variables."""
    length = view.number(LOGGER + "measure_timeout_seconds") + view.number(LOGGER + "start_tolerance_seconds")
    watched = view.number(LOGGER + "busy_window_seconds") if view[LOGGER + "busy_mbps"] else 0
    node, uplink, interval = (view.text(LOGGER + name) for name in ("node_name", "uplink", "interval"))
    return claim_of_node(node, uplink, interval, int(length), int(watched))
