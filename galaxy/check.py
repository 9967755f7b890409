"""Judge a collection as Galaxy does: python galaxy/check.py TARBALL.

It is installed without a network into an empty directory; there every role has documentation, galaxy-importer finds
nothing to complain of, and ansible-test's sanity tests pass but for what tests/sanity names with a reason. Run it with
the Python of .venv-collection.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import tempfile
from pathlib import Path

NAME = "speedtest.telemetry"
SANITY = (
    *("action-plugin-docs", "ansible-doc", "empty-init", "ignores", "import", "no-assert", "runtime-metadata"),
    *("shebang", "validate-modules"),
)
IMPORTER = "[galaxy-importer]\nRUN_ANSIBLE_TEST = False\nRUN_FLAKE8 = False\n"
# ansible-test would fetch this script from its makers' server: pip in an environment that has none
PIP = """import sys
sys.path.append({packages!r})
from pip._internal.cli.main import main
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--ignore-installed", *words]))
"""
PIP_SCRIPT = ".ansible/test/cache/get_pip_24_2.py"


def said(*argv: str | Path, cwd: Path, **environment: str) -> str:
    """What a program of this environment prints, both streams. Raises SystemExit with it where it fails."""
    own = Path(sys.executable).parent
    variables = {**os.environ, "PATH": f"{own}:{os.environ['PATH']}", "NO_COLOR": "1", **environment}
    variables.pop("PYTHONPATH", None)  # the collection must do without the checkout
    done = subprocess.run(
        [own / argv[0], *argv[1:]], cwd=cwd, env=variables, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))}:\n{done.stdout[-6000:]}")
    return done.stdout


def install(tarball: Path, folder: Path) -> Path:
    """Install it as a user does; returns where it lies."""
    said("ansible-galaxy", "collection", "install", "--offline", tarball.resolve(), "-p", folder, cwd=folder)
    return folder / "ansible_collections/speedtest/telemetry"


def documented(installed: Path, folder: Path) -> None:
    """Every role's page can be printed."""
    for role in sorted(path.name for path in (installed / "roles").iterdir()):
        page = said("ansible-doc", "-t", "role", f"{NAME}.{role}", cwd=folder, ANSIBLE_COLLECTIONS_PATH=str(folder))
        if f"{NAME}.{role}" not in page or "ENTRY POINT: *main*" not in page:
            raise SystemExit(f"ansible-doc -t role {NAME}.{role}: seen {page[:200]!r}")
        print(f"ansible-doc -t role {NAME}.{role}: {len(page.splitlines())} lines")


def imported(tarball: Path, installed: Path, folder: Path) -> None:
    """galaxy-importer's verdict; its exit code does not tell of all that it logs."""
    settings = folder / "galaxy-importer.cfg"
    settings.write_text(IMPORTER, encoding="utf-8")
    given = {"GALAXY_IMPORTER_CONFIG": str(settings), "ANSIBLE_INVENTORY": str(installed / "inventory/homelab")}
    log = said("python", "-m", "galaxy_importer.main", tarball.resolve(), cwd=folder, **given)
    errors = [line for line in log.splitlines() if "ERROR" in line]
    if errors or "Importer processing completed successfully" not in log:
        raise SystemExit("galaxy-importer:\n" + "\n".join(errors or [log[-3000:]]))
    warnings = [line for line in log.splitlines() if line.startswith("WARNING")]
    print("galaxy-importer: completed, no error", *warnings, sep="\n  ")


def sane(installed: Path, folder: Path) -> None:
    """ansible-test's tests, in the environments that it makes for them."""
    script = folder / PIP_SCRIPT
    script.parent.mkdir(parents=True)
    script.write_text(PIP.format(packages=site.getsitepackages()[0]), encoding="utf-8")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tests = [word for test in SANITY for word in ("--test", test)]
    words = ("sanity", "--local", "--requirements", "--python", python, *tests)
    said("ansible-test", *words, cwd=installed, HOME=str(folder))
    print(f"ansible-test sanity: {', '.join(SANITY)}")


def main(tarball: Path) -> None:
    """All of it; ends with an error at the first complaint."""
    with tempfile.TemporaryDirectory(prefix="collection-", ignore_cleanup_errors=True) as work:
        folder = Path(work)
        installed = install(tarball, folder)
        documented(installed, folder)
        imported(tarball, installed, folder)
        sane(installed, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
