"""Places that roles are given."""

from __future__ import annotations

import pytest
from desired_states import NAME, SLOTS


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Places of the control machine."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "requirements.txt").write_text("duckdb==1\n")
    archive = {"archive_dir": "/srv/speedtest-archive", "archive_user": "speedtest-archive", "ingest_interval": "5min"}
    control = {"artifact_dir": str(folder), "requirements_file": str(folder / "requirements.txt")}
    for name in ("certificate", "key", "ca"):
        (folder / f"{name}.pem").write_text(f"{name}\n")
    files = {f"{name}_file": str(folder / f"{name}.pem") for name in ("certificate", "key")}
    (folder / "store.txt").write_text("duckdb==1\ndeltalake==1\n")
    control |= {"store_requirements_file": str(folder / "store.txt")}
    control |= {"workbench_requirements_file": str(folder / "requirements.txt"), "workbench_port": 0}
    front = {
        **files,
        "name": NAME,
        "dashboard_bind": "127.0.0.1",
        "dashboard_port": 8000,
        "front": "",
        "bundles_dir": "",
    }
    return {**control, **archive, **front, "acme_ca_file": str(folder / "ca.pem"), "slots": SLOTS}
