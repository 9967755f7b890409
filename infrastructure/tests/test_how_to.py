"""What the how-to has people type is run as it is typed, on the emulator."""

from __future__ import annotations

import os
import re
import subprocess

from conftest import KEYS, PROGRAMS, ROOT, client

TEXT = (ROOT / "docs/how-to/deploy-the-bucket.md").read_text(encoding="utf-8")


def typed() -> str:
    lines = "\n".join(re.findall(r"^ {4}(\S.*| {2}\S.*)$", TEXT, re.MULTILINE))
    provider = re.compile(r"^.*github-oidc-provider\.yml .*\n", re.MULTILINE)
    assert provider.search(lines)
    return provider.sub("", lines)  # the emulator has no such resource: it is only linted


def test_the_commands_of_the_how_to_run(aws):
    script = typed().replace("UNIVERSE=production", "UNIVERSE=typed").replace("OWNER", "me").replace("=NAME", "=lines")
    environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": aws, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| BucketName | speedtest-archive-typed-" in done.stdout
    assert '"SecretAccessKey"' in done.stdout
    assert client("iam", aws).get_role(RoleName="speedtest-deployment-typed")
