"""The node side on whatever Python runs this, with the standard library alone: `make node-side`.

A node may have a Python that the archive, and so the other tests, cannot run on. Engine and ssh are stand-ins.
"""

from __future__ import annotations

import csv
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests/fixtures"
sys.path.insert(0, str(ROOT / "src"))
IPERF3 = f"""#!/bin/sh
case "$*" in
  --version) cat {FIXTURES}/iperf3-3.12-version.txt;;
  *-R*) cat {FIXTURES}/iperf3-3.12-download.json;;
  *) cat {FIXTURES}/iperf3-3.12-upload.json;;
esac
"""
RECEIVE = "import sys; from speedtest_logger.archive.arrive import receive; sys.exit(receive.main())"
SSH = f"""#!/bin/sh
exec {sys.executable} -c '{RECEIVE}' --node attic --root %s
"""


class TestNodeSide(unittest.TestCase):
    """A node whose engine plays back what was recorded, and whose archive host is this machine."""

    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.folder = Path(made.name)
        for name in ("bin", "state"):
            (self.folder / name).mkdir()
        layout = importlib.import_module("speedtest_logger.archive.format.layout")
        layout.Layout(self.folder / "archive").prepare()
        self.program("iperf3", IPERF3)
        self.program("ssh", SSH % (self.folder / "archive"))

    def program(self, name: str, script: str) -> None:
        file = self.folder / "bin" / name
        file.write_text(script)
        file.chmod(0o755)

    def logger(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "SPEEDTEST_NODE": "attic",
            "SPEEDTEST_STATE_DIR": str(self.folder / "state"),
            "SPEEDTEST_LOG_FILE": str(self.folder / "diag.log"),
            "SPEEDTEST_ENGINES": "iperf3",
            "SPEEDTEST_IPERF3_SERVERS": "127.0.0.1:9",
            "SPEEDTEST_OWN_SERVER_ALLOWED": "true",
            "SPEEDTEST_DISK_MIN_FREE_MB": "0",
            "SPEEDTEST_ARCHIVE_HOST": "archive.example.org",
        }
        command = [sys.executable, "-W", "error", "-m", "speedtest_logger", *argv]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def test_every_module_of_it_is_loaded(self) -> None:
        for name in ("engines", "node", "probes"):
            package = importlib.import_module(f"speedtest_logger.{name}")
            found = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
            assert found
            for module in found:
                importlib.import_module(module)

    def test_settings_are_judged(self) -> None:
        done = self.logger("config", "check")
        assert done.returncode == 0, done.stderr

    def test_a_measurement_is_kept_delivered_and_released(self) -> None:
        measured = self.logger("measure")
        assert measured.returncode == 0, measured.stdout + measured.stderr
        [kept] = (self.folder / "state/outbox").glob("*.csv")
        with kept.open(newline="") as stream:
            [row] = csv.DictReader(stream)
        assert (row["node"], row["engine"], row["status"]) == ("attic", "iperf3", "ok")
        assert float(row["download_bps"]) > 0
        delivered = self.logger("push")
        assert delivered.returncode == 0, delivered.stdout + delivered.stderr
        assert list((self.folder / "state/outbox").glob("*.csv")) == []
        [received] = (self.folder / "archive/inbox/attic").glob("*.jsonl")
        assert row["run_id"] in received.read_text()


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}")
    unittest.main()
