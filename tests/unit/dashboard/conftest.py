"""An archive without Ansible, settings over it, and clients that are somebody."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dashboards import HASH, HOME
from starlette.testclient import TestClient

from speedtest_logger.dashboard import keys, settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.settings import Settings

FOLDERS = ("archive", "manifest", "state")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An archive without rows that was made without Ansible."""
    for name in FOLDERS:
        (tmp_path / "root" / name).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Any], str]:
    """Write a JSON file; returns its path."""

    def write(name: str, content: Any) -> str:
        (tmp_path / name).write_text(json.dumps(content))
        return str(tmp_path / name)

    return write


@pytest.fixture
def load(root: Path, tmp_path: Path) -> Callable[..., Settings]:
    """Settings from variables, over the archive."""

    def load(**variables: str) -> Settings:
        (tmp_path / "own").mkdir(exist_ok=True)
        base = {"SPEEDTEST_ARCHIVE_DIR": str(root), "SPEEDTEST_DASHBOARD_DIR": str(tmp_path / "own")}
        return settings.load({**base, **variables})

    return load


@pytest.fixture
def entry_of() -> Callable[..., dict[str, Any]]:
    """The entry of a new key with scopes, and its text under `key`."""

    def entry_of(*scopes: str, expires: str | None = None) -> dict[str, Any]:
        identity, key = keys.new_key()
        content = {"id": identity, "sha256": keys.sha256(key), "scopes": list(scopes), "expires": expires}
        return {"name": f"a program {identity}", "key": key, **content}

    return entry_of


@pytest.fixture
def guarded(load, write) -> Callable[..., Settings]:
    """Settings with a user, eva, and keys."""

    def guarded(*entries: dict[str, Any], **variables: str) -> Settings:
        kept = [{name: value for name, value in entry.items() if name != "key"} for entry in entries]
        return load(
            SPEEDTEST_DASHBOARD_USERS_FILE=write("users.json", [{"name": "eva", "password": HASH}]),
            SPEEDTEST_DASHBOARD_KEYS_FILE=write("keys.json", kept),
            **variables,
        )

    return guarded


@pytest.fixture
def client() -> Iterator[Callable[..., TestClient]]:
    """A browser or program at an application's address, which follows no redirects."""
    opened: list[TestClient] = []

    def client(made: Settings | Any, address: str = HOME, **headers: str) -> TestClient:
        app = create_app(made) if isinstance(made, Settings) else made
        opened.append(TestClient(app, base_url=address, headers=headers, follow_redirects=False))
        return opened[-1]

    yield client
    for each in opened:
        each.close()
