"""The node's packages: whole, with the role's own units, the same bytes each time, and scripts that fit."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from builders import ROOT

from packages import build, formats, node
from plugins.desired import speedtest_logger as role
from speedtest_logger import __version__, env_file
from speedtest_logger.inventory import roles
from speedtest_logger.node import config, unit_times
from speedtest_logger.schedule import Schedule

EPOCH = 1_700_000_000
SCRIPTS = "".join(path.read_text() for path in sorted(node.FILES.iterdir()))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The files of the .deb, as they lie on a machine."""
    top = tmp_path_factory.mktemp("machine")
    for file in node.files("deb"):
        place = top / file.path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.to:
            place.symlink_to(file.to)
        else:
            place.write_bytes(file.content)
            place.chmod(file.mode)
    return top


def text_of(kind: str, path: str) -> str:
    return next(file.content.decode() for file in node.files(kind) if file.path == path)


@pytest.mark.parametrize("kind", build.KINDS)
def test_two_builds_have_the_same_bytes(kind, tmp_path):
    first, second = (formats.build(kind, "1.2.3", EPOCH, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name
    assert "1.2.3" in first.name
    assert formats.build(kind, "1.2.3", EPOCH + 1, tmp_path / "c").read_bytes() != first.read_bytes()


def test_the_python_packages_have_the_same_bytes_and_all_that_the_source_has(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    one, other = (build.distributions(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    sdist, wheel = one
    names = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in names.stdout.splitlines()[1:]}
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    assert wanted - listed == set()
    data = f"speedtest_telemetry-{__version__}.data/data/"
    programs = {name.rpartition("/")[2] for name in listed if name.startswith(f"{data}share/bash-completion/")}
    assert programs == {path.name for path in (ROOT / "share/bash-completion/completions").iterdir()} - {
        "speedtest-converge"  # Ansible's
    }
    assert len([name for name in listed if name.startswith(data)]) == 4 * len(programs)
    with tarfile.open(sdist) as packed:
        assert {"src", "share", "pyproject.toml", "LICENSE"} <= {name.split("/")[1] for name in packed.getnames()}


def test_the_tree_runs_alone_and_needs_nothing_that_it_has_not(tree):
    program = tree / "usr/bin/speedtest-logger"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env={})
    assert done.stdout == f"speedtest-logger {__version__}\n"
    modules = sorted((tree / "usr/lib/speedtest-telemetry/speedtest_logger").rglob("*.py"))
    names = [".".join(path.relative_to(tree / "usr/lib/speedtest-telemetry").with_suffix("").parts) for path in modules]
    code = f"import sys; sys.path.insert(0, {str(tree / 'usr/lib/speedtest-telemetry')!r})\n" + "".join(
        f"import {name.removesuffix('.__init__')}\n" for name in names if not name.endswith("__main__")
    )
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert len(names) > 40


def test_its_units_are_the_roles_with_the_packages_program():
    v = node.values()
    for name in ("logger.service", "push.service", "probe.service", "logger.timer", "push.timer", "probe.timer"):
        ours = text_of("deb", f"{node.SYSTEMD}/speedtest-{name}")
        theirs = role.text(v, role.names(v), f"etc/systemd/system/speedtest-{name}")
        assert ours.startswith("# part of the package")
        assert ours.partition("\n")[2] == theirs.partition("\n")[2].replace(
            "/opt/speedtest-telemetry/current", node.PROGRAM_DIR
        )
    assert "InaccessiblePaths=/etc/speedtest-telemetry/id_ed25519 -/etc/speedtest-telemetry/token\n" in text_of(
        "deb", f"{node.SYSTEMD}/speedtest-logger.service"
    )


def test_what_the_units_write_to_is_made_before_they_start():
    made = {line.split()[1] for line in text_of("deb", "/usr/lib/tmpfiles.d/speedtest-logger.conf").splitlines()[1:]}
    for name in ("logger", "push", "probe"):
        unit = text_of("deb", f"{node.SYSTEMD}/speedtest-{name}.service")
        assert set(re.search("ReadWritePaths=(.+)", unit)[1].split()) <= made
    installed = formats.script("apk", "postinstall", formats.SCRIPTS["apk"]["postinstall"])
    assert {line.split()[-1] for line in installed.splitlines() if line.startswith("install -d")} == made
    swept = re.findall(r"/var/(?:lib|log)/speedtest-[a-z]+", (node.FILES / "part.systemd").read_text())
    assert [path for path in made if not path.startswith(tuple(swept))] == []


def test_scripts_name_the_accounts_and_places_that_the_role_has():
    defaults = roles.defaults(role.ROLE)
    assert set(re.findall(r"/etc/speedtest[a-z-]*", SCRIPTS)) == {defaults["speedtest_logger_config_dir"]}
    assert f"{defaults['speedtest_logger_install_dir']}/current" in SCRIPTS
    assert f"userdel {defaults['speedtest_logger_user']}\n" in SCRIPTS
    assert f"root:{defaults['speedtest_logger_user']} " in SCRIPTS
    assert "^# managed by Ansible" in SCRIPTS


@pytest.mark.parametrize("kind", build.KINDS)
def test_scripts_are_shell_that_shellcheck_takes(kind):
    scripts = [formats.script(kind, event, pieces) for event, pieces in formats.SCRIPTS[kind].items()]
    for script in [*scripts, (node.FILES / "identity").read_text(), (node.FILES / "openrc").read_text()]:
        shellcheck = [Path(sys.executable).with_name("shellcheck"), "--shell", "sh", "--exclude", "SC2034,SC2317", "-"]
        done = subprocess.run(shellcheck, input=script, capture_output=True, text=True, check=False)
        assert done.stdout == "", script


@pytest.mark.parametrize("sign", ["opt/speedtest-telemetry/current", "etc/systemd/system/speedtest-logger.service"])
def test_a_node_of_an_inventory_is_refused_in_words(sign, tmp_path):
    (tmp_path / sign).mkdir(parents=True)
    done = refused(tmp_path)
    assert done.returncode == 1
    assert f"seen {tmp_path}/{sign}: this machine is a node of an Ansible inventory" in done.stderr
    assert "playbooks/remove.yml" in done.stderr


def test_only_settings_that_ansible_wrote_are_refused(tmp_path):
    (tmp_path / "etc/speedtest-telemetry").mkdir(parents=True)
    file = tmp_path / "etc/speedtest-telemetry/logger.env"
    file.write_text('SPEEDTEST_NODE="attic"\n')
    assert refused(tmp_path).returncode == 0
    file.write_text("# managed by Ansible: speedtest_logger\n")
    assert refused(tmp_path).returncode == 1


def refused(machine: Path) -> subprocess.CompletedProcess[str]:
    """How the script before an installation ends on a machine."""
    text = formats.script("deb", "preinstall", formats.SCRIPTS["deb"]["preinstall"])
    text = re.sub(r"(?<![\w/])/(opt|etc)/", rf"{machine}/\1/", text)
    return subprocess.run(["sh", "-s", "install"], input=text, capture_output=True, text=True, check=False)


def test_its_settings_are_ones_that_there_are_and_none_is_on(tmp_path):
    file = tmp_path / "logger.env"
    shipped = (node.FILES / "logger.env").read_text()
    file.write_text(shipped)
    assert env_file.read(file) == {}
    file.write_text(re.sub("(?m)^#(?=SPEEDTEST)", "", shipped))
    assert config.load(env_file.read(file)).offset_seconds == 1234


def test_units_get_their_times_from_the_settings(tmp_path, monkeypatch, capsys):
    file = tmp_path / "logger.env"
    monkeypatch.setattr(config, "ENV_FILE", file)
    assert unit_times.main([str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run").exists()
    file.write_text("# not set up yet\n")
    assert unit_times.main([str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run").exists()
    settings = {
        "SPEEDTEST_NODE": "attic",
        "SPEEDTEST_ENGINES": "librespeed",
        "SPEEDTEST_INTERVAL_SECONDS": "1800",
        "SPEEDTEST_OFFSET_SECONDS": "77",
        "SPEEDTEST_MEASURE_TIMEOUT_SECONDS": "200",
    }
    file.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))
    assert unit_times.main([str(tmp_path / "run"), "", ""]) == 0
    made = {path.parent.name: path.read_text() for path in sorted((tmp_path / "run").rglob("*.conf"))}
    slots = "".join(f"OnCalendar={moment}\n" for moment in Schedule(1800, 77).on_calendar())
    assert made["speedtest-logger.timer.d"] == f"[Timer]\nOnCalendar=\n{slots}"
    assert "OnCalendar=\nOnCalendar=*-*-* *:01,06,11" in made["speedtest-push.timer.d"]
    assert made["speedtest-logger.service.d"] == "[Service]\nTimeoutStartSec=233\n"
    assert set(made) == {
        f"speedtest-{unit}.d" for unit in ("logger.timer", "push.timer", "probe.timer", "logger.service")
    }
    file.write_text('SPEEDTEST_NODE="Not A Name"\n')
    assert unit_times.main([str(tmp_path / "other")]) == 1
    assert "SPEEDTEST_NODE" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_commit_tells_the_time_and_what_is_none_says_so(monkeypatch, tmp_path):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert build.source_epoch() > EPOCH
    monkeypatch.setattr(build, "ROOT", tmp_path)
    with pytest.raises(RuntimeError, match="set SOURCE_DATE_EPOCH"):
        build.source_epoch()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert build.source_epoch() == 7
