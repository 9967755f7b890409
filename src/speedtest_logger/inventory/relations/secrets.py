"""Secrets that are none: those that everybody tries first, short ones, one for two doors, and some in clear.

No words of these show a value. `in clear` is judged by the inventory's files as they lie there, so that it does not
matter through which variables a value came.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from speedtest_logger.inventory import names, roles
from speedtest_logger.inventory.found import BadValueError, Inventory, Problem, Problems, View, seen
from speedtest_logger.inventory.kinds import is_guessed
from speedtest_logger.inventory.relations.common import as_list, as_mapping

ENVIRONMENT = "fleet_environment"
SHORTEST = 16  # characters
# One secret may stand in these: the key of a store, with those who have it.
STORE_IDS = tuple(f"speedtest_{of}_access_key" for of in ("store", "archive_store", "cluster_store"))
STORE_KEYS = tuple(f"speedtest_{of}_secret_key" for of in ("store", "archive_store", "cluster_store"))
# What people make up; all else is given to them by a provider, who judges it.
PASSWORDS = ("speedtest_archive_backup_password", "speedtest_database_dsn", "speedtest_database_reader_password")
MADE_UP = (*PASSWORDS, *STORE_KEYS)
MAKE = "make one with `openssl rand -base64 24`, and put it into a vault"
OPENS = re.compile("SECRET|PASSW|TOKEN|KEY$", re.IGNORECASE)  # AWS_SECRET_ACCESS_KEY, and not AWS_ACCESS_KEY_ID
PASSWORD_IN_URL = re.compile(r"(?<=:)[^:/@\s]+(?=@)")
VAULT = (
    "encrypt the file, or move the value into one that is, and name it there `vault_…` (docs/how-to/keep-environments-"
    "apart.md)"
)
IN_VAULT = ("staging", "production")


def secrets_of_host(view: View) -> Iterator[Problem]:
    """A secret is long, and not one that everybody tries first."""
    for name, value in texts(view):
        if name not in STORE_KEYS and "://" not in value and is_guessed(value):
            yield problem(name, f"everybody tries it first: {MAKE}")
        elif name in PASSWORDS and len(value) < SHORTEST:
            yield problem(name, f"it has fewer than {SHORTEST} characters: {MAKE}")


def secrets_of_fleet(views: list[View], inventory: Inventory, problems: Problems) -> None:
    """No secret opens two doors, all hosts are of one environment, and where it says so nothing lies there in clear."""
    owners: dict[str, dict[str, list[str]]] = {}
    for view in views:
        for name, value in texts(view):
            owners.setdefault(value, {}).setdefault(name, []).append(view.host)
    for by_name in owners.values():
        shared(by_name, problems)
    if environment(views, problems) in IN_VAULT:
        in_clear(owners, inventory, problems)


def shared(by_name: Mapping[str, list[str]], problems: Problems) -> None:
    """One value in several variables: whoever learns it in one place has the others too."""
    for one, other in combinations(sorted(by_name), 2):
        if {one, other} & set(MADE_UP) and not {one, other} <= set(STORE_KEYS):
            problems.add(problem(other, f"{one} has the same: give each one of its own; {MAKE}"), *by_name[other])


def environment(views: Iterable[View], problems: Problems) -> str:
    """The environment of the whole inventory; the strictest where hosts say different things, which is a problem."""
    said: dict[str, list[str]] = {}
    for view in views:
        try:
            said.setdefault(view.text(ENVIRONMENT), []).append(view.host)
        except BadValueError:
            continue
    if len(said) > 1:
        words = "hosts of one inventory are of one environment: set it in group_vars/all"
        for name, hosts in said.items():
            problems.add(Problem(ENVIRONMENT, repr(name), words), *hosts)
    return next((name for name in reversed(IN_VAULT) if name in said), "development")


def in_clear(owners: Mapping[str, Mapping[str, list[str]]], inventory: Inventory, problems: Problems) -> None:
    """Secrets that stand in a file of the inventory as they are."""
    files = {file: readable(file) for file in names.files_of(inventory.folders, inventory.sources)}
    for value, by_name in owners.items():
        places = [str(file) for file, text in files.items() if len(value) >= SHORTEST // 2 and value in text]
        for name, hosts in by_name.items() if places else ():
            problems.add(problem(name, f"it lies in clear in {', '.join(places)}: {VAULT}"), *hosts)


def readable(file: Path) -> str:
    """A file's text."""
    return file.read_text(encoding="utf-8", errors="replace")


def texts(view: View) -> Iterator[tuple[str, str]]:
    """The secrets of a host by variable; of an address with a password that alone. Hashes and ids are none."""
    for name, value in view.values.items():
        known = roles.known().get(name)
        if known is None or not known.secret or name in view.bad or name in STORE_IDS:
            continue
        for text in strings(value):
            yield name, secret_of(text)


def strings(value: object) -> Iterator[str]:
    """The parts of a variable that are secrets: of a mapping those with such a name, of items their addresses."""
    found = [part for key, part in as_mapping(value).items() if OPENS.search(str(key))]
    found += [value] if isinstance(value, str) else [as_mapping(item).get("url", item) for item in as_list(value)]
    yield from (text for text in found if isinstance(text, str) and text)


def secret_of(text: str) -> str:
    """The password of an address that has one, else the whole text."""
    found = PASSWORD_IN_URL.search(text) if "://" in text else None
    return found[0] if found else text


def problem(name: str, words: str) -> Problem:
    """A problem of a secret, whose value no words show."""
    return Problem(name, seen(roles.known()[name], "…"), words)
