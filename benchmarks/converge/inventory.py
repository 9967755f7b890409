"""pyinfra's inventory: the benchmark's nodes."""

import json
import os
from pathlib import Path

_work = Path(os.environ["BENCHMARK_WORK"])
_hosts = json.loads((_work / "connection.yml").read_text(encoding="utf-8"))["all"]["hosts"]

nodes = [
    (
        name,
        {
            "ssh_hostname": _hosts[name]["ansible_host"],
            "ssh_user": "ops",
            "ssh_key": _hosts[name]["ansible_ssh_private_key_file"],
            "ssh_known_hosts_file": str(Path(_hosts[name]["ansible_ssh_private_key_file"]).with_name("known_hosts")),
            "_sudo": True,
        },
    )
    for name in os.environ["BENCHMARK_NODES"].split()
]
