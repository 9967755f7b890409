"""Where a table of the object store lies, and whether that place can be trusted with one.

A place is an address such as s3://BUCKET/FOLDER, or a folder of this machine. Whom an address belongs to, and where its
server is, the environment says by the names that all programs for S3 know: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ALLOW_HTTP. systemd hands the secrets over as a credential, `store`, an
environment file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store
from pyarrow import fs

from speedtest_logger import domains, env_file
from speedtest_logger.errors import ConfigError, StorageError, UsageError

CREDENTIAL = "store"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
OPTIONS = (*SECRETS, "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ALLOW_HTTP")
PATIENCE = {"timeout": "60s", "connect_timeout": "10s", "retry_timeout": "60s", "max_retries": "4"}
_PARAMETERS = {
    "AWS_ENDPOINT_URL": "endpoint",
    "AWS_REGION": "region",
    "AWS_ACCESS_KEY_ID": "access_key_id",
    "AWS_SECRET_ACCESS_KEY": "secret_access_key",
    "AWS_SESSION_TOKEN": "token",
}
_ARROW = {
    "AWS_ENDPOINT_URL": "endpoint_override",
    "AWS_REGION": "region",
    "AWS_ACCESS_KEY_ID": "access_key",
    "AWS_SECRET_ACCESS_KEY": "secret_key",
    "AWS_SESSION_TOKEN": "session_token",
}
COLOURS = re.compile(r"\x1b\[\d*m|↳")
PROBE = "_delta_log/.probe"  # readers pass over names that begin so
NO_CONDITIONS = (
    "the store takes a second object under a name that is taken (it ignores If-None-Match), so that two who publish at "
    "the same time could destroy each other's work: nothing was published. AWS S3, SeaweedFS and MinIO heed it"
)


@dataclass(frozen=True)
class Place:
    """An address or a folder, and what its server wants to know."""

    address: str
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, text: str, environment: Mapping[str, str] = os.environ) -> Place:
        """What was named. Raises ConfigError."""
        if not text.startswith("s3://"):
            if "://" in text or not text.startswith("/"):
                raise ConfigError([f"{text!r:.100} is neither s3://BUCKET/FOLDER nor an absolute path"])
            return cls(text.rstrip("/"))
        if domains.STORE.problem(text):
            raise ConfigError([f"{text!r:.100} is not of the form s3://BUCKET/FOLDER"])
        known = {**environment, **_credential(environment)}
        options = {name: known[name] for name in OPTIONS if known.get(name)}
        missing = [name for name in SECRETS if name not in options]
        if missing:
            raise ConfigError([f"{name} is not set: {text} is nobody's without it" for name in missing])
        return cls(text.rstrip("/"), {"AWS_REGION": "us-east-1", **options})

    @property
    def storage_options(self) -> dict[str, str]:
        """As deltalake wants them; nobody waits for ever."""
        return {**self.options, **PATIENCE} if self.options else {}

    def table(self) -> DeltaTable | None:
        """The table as it is now; None where there is none. Raises StorageError where the place cannot be asked."""
        try:
            if not self.options and not Path(self.address, "_delta_log").is_dir():
                return None
            if not DeltaTable.is_deltatable(self.address, self.storage_options):
                return None
            return DeltaTable(self.address, storage_options=self.storage_options)
        except (DeltaError, OSError) as error:
            raise StorageError(f"{self.address}: {said(error)}") from error

    def existing(self) -> DeltaTable:
        """The table as it is now. Raises UsageError where there is none, StorageError as `table`."""
        found = self.table()
        if found is None:
            raise UsageError(f"{self.address} has no table: speedtest-archive publish {self.address} makes it")
        return found

    def filesystem(self) -> tuple[fs.FileSystem, str]:
        """What Arrow reads files with, and the name of the place there."""
        if not self.options:
            return fs.LocalFileSystem(), self.address
        found: dict[str, Any] = {name: self.options.get(variable) for variable, name in _ARROW.items()}
        return fs.S3FileSystem(
            **{name: value for name, value in found.items() if value}, connect_timeout=10, request_timeout=60
        ), self.address.removeprefix("s3://")

    def probe(self) -> None:
        """Put an object beside the table twice, as a commit is. Raises StorageError where the store takes both."""
        try:
            store = self.store()
            obstore.put(store, PROBE, b"", mode="overwrite")
            try:
                obstore.put(store, PROBE, b"", mode="create")
            except AlreadyExistsError:
                return
            finally:
                obstore.delete(store, PROBE)
        except (BaseError, OSError) as error:
            raise StorageError(f"{self.address}: {said(error)}") from error
        raise StorageError(f"{self.address}: {NO_CONDITIONS}")

    def store(self, retry_seconds: float = 60) -> LocalStore | S3Store:
        """The place as a store of objects; what fails is tried again for so long."""
        if not self.options:
            return LocalStore(self.address, mkdir=True)
        bucket, _, folder = self.address.removeprefix("s3://").partition("/")
        told: dict[str, Any] = {"prefix": folder, **{_PARAMETERS[name]: self.options.get(name) for name in _PARAMETERS}}
        return S3Store(
            bucket,
            **{name: value for name, value in told.items() if value},
            client_options={
                "allow_http": self.options.get("AWS_ALLOW_HTTP") == "true",
                "timeout": PATIENCE["timeout"],
                "connect_timeout": PATIENCE["connect_timeout"],
            },
            retry_config={"retry_timeout": timedelta(seconds=retry_seconds)},
        )


def _credential(environment: Mapping[str, str]) -> dict[str, str]:
    """What systemd handed over."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / CREDENTIAL if folder else None
    if file is None or not file.is_file():
        return {}
    return {name.strip(): value.strip() for name, value in env_file.read(file).items()}


def said(error: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join(COLOURS.sub("", str(error)).split())[:300] or type(error).__name__
