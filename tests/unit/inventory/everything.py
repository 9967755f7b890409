"""An inventory of one machine that is everything, and what is wrong with it."""

from __future__ import annotations

from builders import ROOT

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

GROUPS = {f"speedtest_{name}": ["h"] for name in ("nodes", "archive", "dashboard", "targets")}
BACKUP = {
    "speedtest_archive_backup_repository": "/mnt/usb/restic",
    "speedtest_archive_backup_password": "planted-secret-of-a-test",
}
NAN, INFINITY = float("nan"), float("inf")
L, A, T, D = "speedtest_logger_", "speedtest_archive_", "speedtest_target_", "speedtest_dashboard_"
HASH = "scrypt$32768$8$1$MDEyMzQ1Njc4OWFiY2RlZg==$5sfY8P85Gz2Wi0Gj/1mwLsPGSnZvPs1HKCewzF/EYfU="
ADA = {"name": "ada", "password": HASH}
KEY = {"name": "grafana", "id": "abcdefgh", "sha256": "0" * 64, "scopes": ["read"], "expires": "2027-01-31"}
SHARE = {"location": "home", "sha256": "0" * 64, "expires": None}
DOWNLOAD = {"url": "https://example.org/x.tgz", "sha256": "0" * 64, "program": "speedtest"}


def problems(groups=None, sources=(), folders=(), **values):
    """Problems of one machine that is everything."""
    return check.problems(Inventory({"h": values}, groups or GROUPS, sources, folders, ROOT))
