"""An inventory is refused for everything that is wrong with it, and for nothing else."""

from __future__ import annotations

import pytest
from everything import ADA, BACKUP, DOWNLOAD, HASH, INFINITY, KEY, NAN, SHARE, A, D, L, T, problems

from speedtest_logger.inventory.found import Failure

PUBLISHED = {
    "speedtest_archive_store_address": "s3://measurements/records",
    "speedtest_archive_store_access_key": "publisher",
    "speedtest_archive_store_secret_key": "3f2a9c1e77b04d5580aa91c2",
}


def test_an_inventory_without_variables_is_well():
    assert problems() == []
    assert problems(**BACKUP) == []


NONSENSE = [
    {L + "user": "root"}, {L + "uid": 0}, {A + "user": "root"}, {T + "user": "root"}, {L + "user": "1000"},
    {L + "state_dir": "/"}, {L + "state_dir": "/var/lib"}, {L + "state_dir": "var/x"}, {A + "dir": "/etc"},
    {A + "dir": "/"},
    {A + "dir": '/srv/x"\nssh-ed25519 AAAA'}, {A + "upkeep_calendar": "garbage"},
    {A + "upkeep_calendar": "daily\nUnit=x"}, {A + "backup_calendar": "never"}, {A + "ingest_interval": "7min"},
    {A + "keep_days": -5}, {A + "keep_raw_days": -1}, {A + "keep_size": "-1GB"}, {A + "backup_keep_daily": -1},
    {A + "backup_repository": "backups", A + "backup_password": "x"}, {L + "measure_timeout_seconds": -1},
    {L + "duration_seconds": 0}, {L + "outbox_max_mb": -1}, {L + "outbox_max_mb": 0}, {L + "history_days": -1},
    {L + "raw_days": -1}, {L + "librespeed_servers": ["http://x/\nSPEEDTEST_PAUSED=true"]},
    {L + "iperf3_extra_args": ["a\nb"]},
    {L + "downloads": {"ookla": {"url": "https://example.org/x.tgz"}}}, {L + "downloads": {"../../x": DOWNLOAD}},
    {L + "downloads": {"ookla": {**DOWNLOAD, "program": "../../x"}}},
    {L + "downloads": {"ookla": {**DOWNLOAD, "sha256": "x"}}},
    {A + "version": "../../../tmp/x"}, {A + "version": "9.9.9"}, {L + "version": "9.9.9"},
    {"fleet_archive_address": "-oProxyCommand=x y"}, {T + "iperf3_ports": [22, 99999, -1]}, {T + "librespeed_port": -1},
    {"ansible_port": "ssh"}, {L + "plan_download_mbps": -5}, {L + "plan_upload_mbps": NAN}, {L + "busy_mbps": INFINITY},
    {L + "data_budget_gb": -1}, {L + "start_tolerance_seconds": -1}, {L + "busy_window_seconds": -3},
    {L + "container_pids": -1},
    {L + "container_memory": "lots"}, {L + "source_address": "nowhere"}, {L + "source_interface": "eth0; rm"},
    {L + "base_image": "debian:latest"}, {T + "garbage_bytes": -1}, {T + "config_dir": "/etc/nginx"},
    {"docker_host_repository_url": "deb x"}, {"docker_host_repository_pin": "1\nPin: *"},
    {"docker_host_users": ["a b"]},
    {D + "user": "root"}, {D + "dir": "/var/lib"}, {D + "port": 80}, {D + "port": "8000"}, {D + "bind": "everywhere"},
    {D + "time_zone": "Mars/Olympus"}, {D + "title": "x" * 81}, {D + "title": "a\nLOG_LEVEL=debug"},
    {D + "version": "9.9.9"}, {D + "log_level": "loud"}, {D + "hosts": ["a b"]}, {D + "runtime": "kubernetes"},
    *[{D + "cors_origins": [origin]} for origin in ("*", "https://example.org/x", "example.org", "https://u@example.org")],
    *[
        {D + "users": [{"name": "ada", "password": text}]}
        for text in (
            "hunter2", "", None, HASH[:-8], HASH.replace("32768", "16384"), HASH.replace("32768", "32769"),
            HASH.replace("32768", "67108864"), HASH.replace("$8$", "$1$"),
            HASH.replace("MDEyMzQ1Njc4OWFiY2RlZg==", "MDEy"),
        )
    ],
    {D + "users": [{"name": "a\nb", "password": HASH}]}, {D + "users": [{"name": "ada"}]}, {D + "users": [ADA, ADA]},
    {D + "users": ["ada"]}, {D + "users": {"ada": HASH}}, {D + "keys": [{**KEY, "sha256": "stk_abcdefgh_secret"}]},
    {D + "keys": [{**KEY, "scopes": []}]}, {D + "keys": [{**KEY, "scopes": ["write"]}]},
    {D + "keys": [{**KEY, "id": "x"}]},
    {D + "keys": [{**KEY, "expires": "soon"}]}, {D + "keys": [{**KEY, "expires": "20270131"}]},
    {D + "keys": [KEY, {**KEY, "name": "other"}]}, {D + "shares": [{**SHARE, "location": "No Such"}]},
    {D + "shares": [SHARE, SHARE]},
    {L + "paused": "false"}, {"speedtest_upgrade_batches": ["200%"]}, {A + "backup_environment": {"LD_PRELOAD": "/x"}},
]  # fmt: skip


@pytest.mark.parametrize(
    "values", NONSENSE, ids=lambda values: f"{next(iter(values))}={next(iter(values.values()))!r:.30}"
)
def test_nonsense_is_refused_by_the_name_of_its_variable(values):
    found = problems(**values)
    assert len([line for line in found if line.startswith(f"{next(iter(values))}: seen ")]) == 1, found


def iperf3(server, **values):
    """A machine that measures with iperf3 against a server."""
    return {L + "engines": ["iperf3"], L + "iperf3_servers": [server], **values}


@pytest.mark.parametrize(
    "values",
    [
        iperf3("127.0.0.1:5201", **{L + "own_server_allowed": True}),
        iperf3("hh:5201"),
        iperf3("127.0.0.1.example.org:5201", ansible_host="192.0.2.9"),
        {L + "iperf3_servers": ["127.0.0.1"], L + "librespeed_servers": ["7"]},  # iperf3 is not asked
    ],
)
def test_a_server_that_is_allowed_or_elsewhere_is_well(values):
    assert problems(**values) == []


def test_a_number_with_its_unit_is_refused_in_plain_words():
    line = f"{L}busy_mbps: seen '5 Mbit' on h; a number from 0 to 1000000 is expected"
    assert problems(**{L + "busy_mbps": "5 Mbit"}) == [line]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({L + "install_dir": "/srv/x", L + "state_dir": "/srv/x"}, [L + "state_dir", "install_dir is /srv/x"]),
        ({L + "state_dir": "/srv/speedtest-archive/node"}, [A + "dir", "none inside another"]),
        ({A + "home_dir": "/srv/speedtest-archive"}, [A + "dir", "home_dir is /srv/speedtest-archive"]),
        ({**BACKUP, A + "backup_repository": "/srv/speedtest-archive/b"}, [A + "backup_repository", "none inside"]),
        ({L + "config_dir": "/etc/speedtest-archive"}, [L + "config_dir", "/etc/speedtest-archive"]),
        ({L + "user": "speedtest-archive"}, [A + "user", "account of its own"]),
        ({A + "user": "speedtest-backup"}, [A + "user", "backups have an account of this name"]),
        ({L + "user": "admin", "ansible_user": "admin"}, [L + "user", "ansible_user is the same"]),
        ({L + "measure_timeout_seconds": 3590}, [L + "measure_timeout_seconds", L + "interval (3600)"]),
        ({L + "duration_seconds": 200}, [L + "duration_seconds", L + "measure_timeout_seconds (180)"]),
        ({L + "engines": ["iperf3"]}, [L + "iperf3_servers", "seen []", "HOST or HOST:PORT"]),
        ({L + "engines": ["ookla"]}, [L + "ookla_licence_accepted", "seen False", "set true if you accept"]),
        (
            {L + "archive_raw": True, L + "external_ip": "none"},
            [L + "archive_raw", L + "external_ip", "choose one of the two"],
        ),
        (iperf3("127.0.0.1:5201"), [L + "iperf3_servers", "127.0.0.1:5201 is the node itself", "own_server_allowed"]),
        (iperf3("[::1]:5201"), [L + "iperf3_servers", "is the node itself"]),
        (iperf3("H"), [L + "iperf3_servers", "H is the node itself"]),
        (iperf3("192.0.2.9:5201", ansible_host="192.0.2.9"), [L + "iperf3_servers", "is the node itself"]),
        (iperf3("nas.example.org", fleet_archive_address="nas.example.org"), [L + "iperf3_servers", "the node itself"]),
        ({L + "librespeed_servers": ["http://localhost:8080/"]}, [L + "librespeed_servers", "is the node itself"]),
        ({L + "image_source": "pull"}, [L + "image: seen nothing", "@sha256:"]),
        ({L + "runtime": "compose", "docker_host_source": "repository"}, ["docker_host_repository_key: seen nothing"]),
        ({A + "backup_repository": "/mnt/usb/restic"}, [A + "backup_password: seen nothing", "vault"]),
        ({A + "store_address": "/srv/speedtest-archive/table"}, [A + "store_address", "none inside"]),
        ({A + "user": "speedtest-publish"}, [A + "user", "publishing has an account of this name"]),
        (
            {A + "store_address": "s3://measurements/records", A + "store_secret_key": "x"},
            [A + "store_access_key: seen nothing", "publishing to s3://measurements/records needs the id", "vault"],
        ),
        (
            {A + "store_address": "s3://measurements/records", A + "store_access_key": "x"},
            [A + "store_secret_key: seen nothing", "needs the key", "vault"],
        ),
        (
            {**PUBLISHED, A + "store_tree": "s3://measurements/records/plain"},
            [A + "store_tree: seen 's3://measurements/records/plain'", "upkeep of the table", "outside it"],
        ),
        ({**PUBLISHED, A + "store_tree": "s3://measurements", A + "shared": True}, [A + "store_tree", "keep no tree"]),
        ({A + "store_tree": "s3://measurements"}, [A + "store_tree", f"set {A}store_address"]),
        (
            {A + "store_address": "/mnt/usb/records", A + "store_tree": "s3://measurements"},
            [A + "store_tree: seen 's3://measurements'", f"{A}store_address is a directory, which has no key"],
        ),
        (
            {A + "store_address": "/mnt/usb/records", A + "store_tree": "/mnt/usb"},
            [A + "store_tree: seen '/mnt/usb'", "none inside another"],
        ),
        ({**PUBLISHED, A + "store_tree_results": True}, [A + "store_tree_results: seen True", "set false"]),
        ({A + "shared": True}, [A + "shared: seen True", A + "store_address to s3://BUCKET/FOLDER"]),
        (
            {**BACKUP, **{f"{A}backup_keep_{age}": 0 for age in ("daily", "weekly", "monthly")}},
            ["no backup would stay"],
        ),
        ({A + "limit_rows_burst": 9000}, [A + "limit_rows_burst", "limit_rows is 10000"]),
        ({T + "librespeed_port": 5201}, [T + "librespeed_port", "port of its own"]),
        ({D + "port": 8989}, [D + "port: seen 8989", T + "librespeed_port has it too"]),
        ({D + "port": 5301, T + "iperf3_ports": [5201, 5301]}, [D + "port: seen 5301", T + "iperf3_ports has it too"]),
        ({D + "bind": "0.0.0.0"}, [D + "bind: seen '0.0.0.0'", D + "users names nobody", "127.0.0.1"]),  # noqa: S104
        ({D + "bind": "192.0.2.10"}, [D + "bind", D + "users names nobody"]),
        ({D + "workbench_enabled": True}, [D + "workbench_enabled: seen True on h", "into group speedtest_front"]),
        ({D + "image_source": "pull"}, [D + "image: seen nothing", "@sha256:"]),
        ({D + "runtime": "compose", "docker_host_source": "repository"}, ["docker_host_repository_key: seen nothing"]),
        ({A + "state": "absent"}, [D + "state: seen 'present'", "set absent here too"]),
        ({D + "user": "speedtest-archive"}, [D + "user", "account of its own"]),
        ({D + "dir": "/srv/speedtest-archive/dashboard"}, [D + "dir", "none inside another"]),
        ({D + "install_dir": "/etc/speedtest-dashboard/x"}, [D + "install_dir", "/etc/speedtest-dashboard"]),
    ],
)
def test_what_contradicts_is_refused(values, words):
    found = [line for line in problems(**values) if all(word in line for word in words)]
    assert len(found) == 1, problems(**values)


def test_an_artifact_that_lies_there_is_a_version(tmp_path):
    (tmp_path / "speedtest-logger-9.9.9.tar.gz").write_bytes(b"")
    chosen = {f"{role}_{name}": value for role in ("speedtest_logger", "speedtest_archive")
              for name, value in (("version", "9.9.9"), ("artifact_dir", str(tmp_path)))}  # fmt: skip
    assert problems(**chosen) == []


def test_a_variable_that_is_not_defined_names_itself_its_host_and_the_file(tmp_path):
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/h.yml").write_text('speedtest_archive_backup_password: "{{ vault_password }}"\n')
    values = {**BACKUP, A + "backup_password": Failure("'vault_password' is undefined")}
    (line,) = problems(folders=(tmp_path,), **values)
    assert line.startswith(f"{A}backup_password: seen a template that fails in {tmp_path}/host_vars/h.yml on h;")
    assert "'vault_password' is undefined: define it" in line
    (line,) = problems(**{**BACKUP, A + "backup_password": Failure("planted-secret is no JSON")})
    assert "planted" not in line


def test_secrets_are_never_shown():
    secret = "planted\nsecret"
    given_values = {
        **BACKUP,
        A + "backup_password": secret,
        A + "backup_environment": {"AWS_SECRET_ACCESS_KEY": secret},
        "docker_host_repository_url": "https://me:planted@example.org/ x",
        D + "users": [{"name": "ada", "password": "planted"}],
        D + "keys": [{**KEY, "sha256": "planted"}],
        D + "shares": [{**SHARE, "sha256": "planted"}],
    }
    found = "\n".join(problems(**given_values))
    assert found.count("seen a value that is not shown") == 5
    assert "planted" not in found
