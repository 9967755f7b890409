"""What is written is what is true: generated pages, examples in help texts, defaults, versions, imports."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from builders import ROOT, load
from quick_restic import PASSWORD

from speedtest_logger import __version__
from speedtest_logger.archive import cli as archive_cli
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory import settings as node_settings
from speedtest_logger.node import cli, config
from speedtest_logger.probes.catalogue import PROBES

PACKAGE = ROOT / "src/speedtest_logger"
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def test_generated_pages_are_fresh():
    stale = [
        str(file.relative_to(ROOT))
        for file, content in load("docs/generate.py").pages().items()
        if not file.exists() or file.read_text(encoding="utf-8") != content
    ]
    assert stale == [], "run `make docs`"


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_are_the_defaults(role):
    assert (ROOT / "roles" / role / "README.md").is_file()
    written = yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())
    options = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"][
        "options"
    ]
    assert list(written) == list(options)

    def plain(value):
        return " ".join(value.split()) if isinstance(value, str) else value

    assert {n: plain(v) for n, v in written.items()} == {n: plain(o["default"]) for n, o in options.items()}
    assert [name for name in written if not name.startswith(role + "_")] == []
    assert [name for name, option in options.items() if not option["description"]] == []


def called_alone(content):
    """(role, entry point) of each call in a playbook or in a role's tasks that names `tasks_from`."""
    if isinstance(content, list):
        return {found for item in content for found in called_alone(item)}
    if not isinstance(content, dict):
        return set()
    found = set()
    if "tasks_from" in content:
        assert content["name"].startswith("speedtest.telemetry.")  # else an installed collection does not find it
        found = {(content["name"].rpartition(".")[2], content["tasks_from"])}
    return found | called_alone(list(content.values()))


def test_what_is_called_by_tasks_from_has_an_argument_spec_and_nothing_else_has():
    files = [*(ROOT / "playbooks").glob("*.yml"), *(ROOT / "playbooks").glob("[pt]*/*.yml")]
    files += (ROOT / "roles").glob("*/tasks/*.yml")
    called = {found for file in files for found in called_alone(yaml.safe_load(file.read_text(encoding="utf-8")))}
    assert ("speedtest_logger", "put_back") in called
    specs = {
        role: yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]
        for role in ROLES
    }
    assert called == {(role, entry) for role, entries in specs.items() for entry in entries if entry != "main"}
    assert [call for call in called if not (ROOT / "roles" / call[0] / f"tasks/{call[1]}.yml").is_file()] == []


def test_one_version_everywhere():
    for role, name in (
        ("speedtest_logger", "speedtest_logger_version"),
        ("speedtest_archive", "speedtest_archive_version"),
        ("speedtest_dashboard", "speedtest_dashboard_version"),
    ):
        assert yaml.safe_load((ROOT / "roles" / role / "defaults/main.yml").read_text())[name] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
    page = (ROOT / "docs/how-to/install-without-ansible.md").read_text()
    assert set(re.findall(r"speedtest[a-z_-]+[-_](\d+\.\d+\.\d+)-", page)) == {__version__}


def test_logger_env_sets_every_setting_that_the_role_can_know():
    written = {f"SPEEDTEST_{name.upper()}" for name in node_settings.names()}
    known = {f"SPEEDTEST_{o.name.upper()}" for o in dataclasses.fields(config.Settings) if o.name not in config.EACH}
    known |= {f"SPEEDTEST_{name.upper()}_TARGETS" for name in PROBES if config.probe_domain(name)}
    known |= {
        f"SPEEDTEST_{e.upper()}_{o.name.upper()}" for e in ENGINES for o in dataclasses.fields(config.EngineSettings)
    }
    assert written <= known
    unset = {"SPEEDTEST_PUSH_TIMEOUT_SECONDS", "SPEEDTEST_PUSH_BATCH_RECORDS", "SPEEDTEST_RUNTIME_DIR"}
    assert known - written == unset


def examples(module, program):
    return [(verb, shlex.split(example.removeprefix(program))) for verb, (_, example) in module.VERBS.items()]


@pytest.mark.parametrize(("verb", "argv"), examples(cli, "speedtest-logger"))
def test_examples_of_the_logger_run(verb, argv, tmp_path, monkeypatch, capsys):
    for name, value in {
        "NODE": "attic",
        "STATE_DIR": str(tmp_path / "state"),
        "LOG_FILE": str(tmp_path / "log"),
        "ENGINES": "iperf3",
        "IPERF3_SERVERS": "127.0.0.1:9",
        "OWN_SERVER_ALLOWED": "true",
        "DISK_MIN_FREE_MB": "0",
    }.items():
        monkeypatch.setenv(f"SPEEDTEST_{name}", value)
    (tmp_path / "state").mkdir()
    if verb != "loop":  # it runs until it is told to stop: test_loop_process.py does that
        assert cli.main(argv) in (0, 1, 3)
    printed = capsys.readouterr().out
    if "--json" in argv:
        assert json.loads(printed)
    with pytest.raises(SystemExit) as asked:
        cli.main([verb, "--help"])
    assert asked.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


@pytest.mark.parametrize(("verb", "argv"), examples(archive_cli, "speedtest-archive"))
def test_examples_of_the_archive_run(verb, argv, tmp_path, restic, monkeypatch, capsys):
    monkeypatch.setenv("PATH", f"{restic}:{os.environ['PATH']}")
    monkeypatch.setenv("RESTIC_REPOSITORY", str(tmp_path / "repository"))
    monkeypatch.setenv("RESTIC_PASSWORD", PASSWORD)
    for name in ("inbox", "archive", "quarantine", "state"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("SPEEDTEST_ARCHIVE_DIR", str(tmp_path))
    rows = tmp_path / "rows.csv"
    at = "2026-01-15T00:00:00Z" if verb == "accept" else datetime.now(timezone.utc).isoformat()
    rows.write_text(f"sponsor,server name,distance,timestamp,ping,download,upload\na,b,1,{at},9,1e8,5e7\n")
    assert archive_cli.main(["import", "--node", "attic", "--location", "home", str(rows)]) == 0
    if verb == "accept":
        (tmp_path / "archive" / argv[-1]).unlink()
    if verb == "restore":
        assert archive_cli.main(["backup"]) == 0
        monkeypatch.setenv("SPEEDTEST_ARCHIVE_DIR", str(tmp_path / "new"))
        (tmp_path / "new/archive").mkdir(parents=True)
    argv = [str(tmp_path / Path(word).name) if word.startswith(("/tmp/", "s3://")) else word for word in argv]
    if verb == "fetch":
        assert archive_cli.main(["publish", *argv[1:]]) == 0
        monkeypatch.setenv("SPEEDTEST_ARCHIVE_DIR", str(tmp_path / "new"))
        (tmp_path / "new/archive").mkdir(parents=True)
    if verb == "share":  # a folder cannot be shared: test_shared_archive.py runs it on an object store
        assert archive_cli.main(argv) == 2
    else:
        assert archive_cli.main(argv) == 0
    with pytest.raises(SystemExit) as asked:
        archive_cli.main([verb, "--help"])
    assert asked.value.code == 0


def test_receive_does_not_load_what_is_slow():
    code = (
        "import sys; from speedtest_logger.archive.arrive import receive; "
        "print([m for m in ('pyarrow', 'duckdb', 'pandas', 'asyncio', 'logging') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")}
    )
    assert done.stdout.strip() == "[]"


def test_links_in_the_docs_lead_somewhere():
    for file in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", file.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (file.parent / target).exists(), f"{file.name}: {target}"


def test_locks_carry_hashes_and_no_addresses():
    for file in (ROOT / "requirements").glob("*.txt"):
        text = file.read_text(encoding="utf-8")
        assert "://" not in text
        pins = re.findall(r"^\S+==\S+", text, re.MULTILINE)
        assert pins
        assert text.count("--hash=sha256:") >= len(pins)


HOW_TOS = ["ask-the-archive", "analyse-with-pandas-duckdb-r", "prove-it-to-your-provider", "bring-in-old-results"]


@pytest.mark.parametrize("name", HOW_TOS)
def test_the_how_tos_for_the_archive_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SPEEDTEST_ARCHIVE_DIR", str(tmp_path))
    (tmp_path / "archive").mkdir()
    rows = tmp_path / "rows.csv"
    now = datetime.now(timezone.utc).isoformat()
    rows.write_text(f"sponsor,server name,distance,timestamp,ping,download,upload\na,b,1,{now},9,1e8,5e7\n")
    assert archive_cli.main(["import", "--node", "attic", "--location", "home", str(rows)]) == 0
    capsys.readouterr()
    text = (ROOT / f"docs/how-to/{name}.md").read_text(encoding="utf-8")
    lines = [
        line.strip().removeprefix("ssh nas ").removeprefix("sudo ") for line in text.splitlines() if line[:4] == "    "
    ]
    commands = [shlex.split(line.partition(" > ")[0]) for line in lines if line.startswith("speedtest-archive ")]
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert commands or programs
    for _, *argv in commands:
        argv = [str(tmp_path / Path(word).name) if word.startswith("/tmp/") else word for word in argv]  # noqa: PLW2901  its own path
        assert archive_cli.main(argv) == 0, argv
    for program in programs:
        exec(program.replace("/srv/speedtest-archive", str(tmp_path)), {})  # noqa: S102  our own page
    for program in re.findall(r"```r\n(.*?)```", text, re.DOTALL):
        done = subprocess.run(
            ["Rscript", "--vanilla", "-e", program.replace('"/tmp/', f'"{tmp_path}/')],
            capture_output=True,
            text=True,
            check=False,
        )
        assert re.search(r"attic +100\b", done.stdout), done.stdout + done.stderr
    printed = capsys.readouterr()
    assert printed.out or printed.err
    assert (name != "analyse-with-pandas-duckdb-r") or printed.out.count("100.0") == 2


def test_the_analysis_with_our_library_runs_as_it_is_typed(tmp_path):
    """The page's command with the places of this checkout, and what is pasted into it."""
    text = (ROOT / "docs/how-to/analyse-with-pandas-duckdb-r.md").read_text(encoding="utf-8")
    [command] = [line.strip() for line in text.splitlines() if line.startswith("    sudo ")]
    installed = yaml.safe_load((ROOT / "roles/speedtest_archive/defaults/main.yml").read_text())
    folder = installed["speedtest_archive_install_dir"]
    wrapper = (ROOT / "roles/speedtest_archive/templates/usr/local/bin/speedtest-archive.j2").read_text()
    assert "{{ speedtest_archive_install_dir }}/venv/bin/python" in wrapper
    assert command.startswith(f"sudo -u {installed['speedtest_archive_user']} env PYTHONPATH={folder}/current ")
    (tmp_path / "archive").mkdir()
    rows = tmp_path / "rows.csv"
    now = datetime.now(timezone.utc).isoformat()
    rows.write_text(f"sponsor,server name,distance,timestamp,ping,download,upload\na,b,1,{now},9,1e8,5e7\n")
    assert (
        archive_cli.main(["--root", str(tmp_path), "import", "--node", "attic", "--location", "home", str(rows)]) == 0
    )
    typed = command.removeprefix(f"sudo -u {installed['speedtest_archive_user']} ")
    typed = typed.replace(f"{folder}/venv/bin/python", sys.executable).replace(f"{folder}/current", str(ROOT / "src"))
    program = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0].replace("/srv/speedtest-archive", str(tmp_path))
    environment = {"PATH": os.environ["PATH"]}  # sudo hands nothing else on
    done = subprocess.run(
        typed.split(), input=program, capture_output=True, text=True, check=False, cwd="/", env=environment
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^0 +home +1$", done.stdout, re.MULTILINE), done.stdout


def test_the_example_inventory_makes_sense():
    """As a user runs it, less the machines: preflight contacts none."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "inventory/homelab/hosts.yml",
            "playbooks/preflight.yml",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout
    assert "failed=0" in done.stdout


def test_pictures_show_pages_as_they_are(tmp_path):
    picture = load("docs/picture.py")
    for name, page in picture.pages(tmp_path).items():
        shown = picture.shown((picture.PICTURES / name).read_bytes())
        assert shown == picture.digest(page), f"{name}: run `make pictures`"
