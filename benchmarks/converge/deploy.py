"""The same desired state as pyinfra operations."""

import io
import json
import os
from pathlib import Path

from pyinfra import host
from pyinfra.operations import apt, files, server, systemd

desired = json.loads((Path(os.environ["BENCHMARK_WORK"]) / f"{host.name}.json").read_text(encoding="utf-8"))

apt.packages(packages=desired["packages"])
for account in desired["accounts"]:
    server.user(user=account["name"], home=account["home"], shell=account["shell"], system=True, ensure_home=False)
for item in desired["directories"]:
    files.directory(path=item["path"], user=item["owner"], group=item["group"], mode=item["mode"])
for item in desired["files"]:
    files.put(
        src=io.StringIO(item["content"]), dest=item["path"], user=item["owner"], group=item["group"], mode=item["mode"]
    )
for item in desired["links"]:
    files.link(path=item["path"], target=item["target"], force=True)
for item in desired["units"]:
    systemd.service(service=item["name"], running=True, enabled=True)
