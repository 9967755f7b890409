"""What an archive host wants that publishes, shares its archive or takes in who is invited."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from desired_states import UNITS, files_of, wanted

STORE = {"store_address": "s3://measurements/records", "store_access_key": "an id", "store_secret_key": "a key"}


def test_an_archive_publishes_with_packages_an_account_and_secrets_of_that(here):
    off, on = wanted("speedtest_archive", here).desired, wanted("speedtest_archive", here, **STORE).desired
    assert not any("publish" in json.dumps(off[kind]) for kind in ("files", "directories", "accounts", "units"))
    assert off["venvs"][0]["path"] != on["venvs"][0]["path"]
    assert off["venvs"][0]["requirements"] == here["requirements_file"]
    assert on["venvs"][0]["requirements"] == here["store_requirements_file"]
    assert {"deltalake", "obstore"} <= set(on["venvs"][0]["imports"])
    (account,) = [item for item in on["accounts"] if item["name"] == "speedtest-publish"]
    assert account["groups"] == ["speedtest-archive"]
    files = {item["path"]: item for item in on["files"]}
    secrets = files["/etc/speedtest-archive/store.env"]
    assert (secrets["owner"], secrets["mode"], secrets["secret"]) == ("root", "0600", True)
    assert [path for path, item in files.items() if "a key" in item["content"]] == [secrets["path"]]
    assert "AWS_ALLOW_HTTP" not in secrets["content"]
    service = files["/etc/systemd/system/speedtest-publish.service"]["content"]
    assert "LoadCredential=store:/etc/speedtest-archive/store.env" in service
    assert "User=speedtest-publish" in service
    assert re.findall("^ReadWritePaths=(.*)$", service, re.MULTILINE) == ["/srv/speedtest-archive/store"]


def test_a_host_that_shares_the_archive_takes_turns_and_keeps_the_keys_from_the_nodes_account(here):
    alone, shared = (wanted("speedtest_archive", here, **STORE, shared=on).desired for on in (False, True))
    active = {on: {unit["name"] for unit in lists["units"] if unit.get("active", True)} for on, lists in
              ((False, alone), (True, shared))}  # fmt: skip
    files = {item["path"]: item for item in shared["files"]}
    assert not any("share" in json.dumps(item["path"]) for item in alone["files"])
    assert {"speedtest-share.timer", "speedtest-shared-inbox.socket"} <= active[True]
    assert not {"speedtest-ingest.timer", "speedtest-publish.timer"} & files.keys()
    assert files["/srv/speedtest-archive/fleet/shared.env"]["content"].endswith('="/run/speedtest-shared-inbox.sock"\n')
    units = {path.rpartition("/")[2]: item["content"] for path, item in files.items() if "speedtest-share" in path}
    assert "SocketMode=0600\n" in units["speedtest-shared-inbox.socket"]
    gate, turn = units["speedtest-shared-inbox.service"], units["speedtest-share.service"]
    assert "LoadCredential=store:/etc/speedtest-archive/store.env\n" in gate
    assert "User=speedtest-publish\n" in gate
    assert turn.index("CapabilityBoundingSet=\n") < turn.index("CapabilityBoundingSet=CAP_SETUID CAP_SETGID\n")
    assert not any(secret in text for text in units.values() for secret in ("a key", "an id"))


def test_a_table_on_the_archive_host_itself_is_the_publishers_to_write(here):
    lists = wanted("speedtest_archive", here, store_address="/mnt/usb/table").desired
    (folder,) = [item for item in lists["directories"] if item["path"] == "/mnt/usb/table"]
    assert (folder["owner"], folder["group"], folder["mode"]) == ("speedtest-publish", "speedtest-archive", "2750")
    for name in ("speedtest-publish.service", "speedtest-publish-upkeep.service"):
        (unit,) = [item["content"] for item in lists["files"] if item["path"] == UNITS + name]
        assert "ReadWritePaths=/srv/speedtest-archive/store /mnt/usb/table\n" in unit
    plain = wanted("speedtest_archive", here, **{**STORE, "store_endpoint": "http://127.0.0.1:8333"}).desired
    (secrets,) = [item["content"] for item in plain["files"] if item["path"].endswith("store.env")]
    assert 'AWS_ALLOW_HTTP="true"' in secrets


def test_a_tree_is_published_where_it_is_asked_for(here):
    def publishing(**values):
        lists = wanted("speedtest_archive", here, **values).desired
        (unit,) = [item["content"] for item in lists["files"] if item["path"].endswith("speedtest-publish.service")]
        return re.findall("^(?:ExecStart|ReadWritePaths)=(.*)$", unit, re.MULTILINE), lists["directories"]

    (command, _), _ = publishing(**STORE)
    assert command.endswith("publish --remember --buckets 16 s3://measurements/records")
    (command, _), _ = publishing(**STORE, store_tree="s3://measurements", store_tree_results=True)
    assert command.endswith("--buckets 16 --tree s3://measurements --results s3://measurements/records")
    (command, writes), folders = publishing(store_address="/mnt/usb/table", store_tree="/mnt/usb/plain")
    assert command.endswith("--buckets 16 --tree /mnt/usb/plain /mnt/usb/table")
    assert writes == "/srv/speedtest-archive/store /mnt/usb/table /mnt/usb/plain"
    (folder,) = [item for item in folders if item["path"] == "/mnt/usb/plain"]
    assert (folder["owner"], folder["group"], folder["mode"]) == ("speedtest-publish", "speedtest-archive", "2750")


def test_a_store_opens_one_bucket_to_one_key_and_only_s3_to_others(here):
    given = {"access_key": "an id", "secret_key": "a key", "listen": "192.0.2.1", "max_gb": 10}
    lists = wanted("speedtest_store", here, **given).desired
    files = {item["path"]: item for item in lists["files"]}
    keys = files["/etc/speedtest-store/s3.json"]
    assert (keys["owner"], keys["mode"], keys["secret"]) == ("root", "0600", True)
    (who,) = json.loads(keys["content"])["identities"]
    assert who["credentials"] == [{"accessKey": "an id", "secretKey": "a key"}]
    assert who["actions"] == [f"{right}:measurements" for right in ("Read", "Write", "List", "Tagging")]
    unit = files[UNITS + "speedtest-store.service"]["content"]
    assert "a key" not in unit
    (command,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", unit, re.MULTILINE)
    options = dict(word.partition("=")[::2] for word in command.split()[2:] if "=" in word)
    assert (options["-ip"], options["-ip.bind"], options["-s3.ip.bind"]) == ("127.0.0.1", "127.0.0.1", "192.0.2.1")
    assert (options["-s3.port.iceberg"], options["-s3.port.lance"], options["-s3.iam"]) == ("0", "0", "false")
    ports = [int(options[f"-{part}.port"]) for part in ("s3", "master", "volume", "filer")]
    assert ports == [8333, 8334, 8335, 8336]
    assert int(options["-volume.max"]) * int(options["-master.volumeSizeLimitMB"]) <= 10_000
    (folder,) = [item for item in lists["directories"] if item["path"] == "/srv/speedtest-store"]
    assert (folder["owner"], folder["mode"]) == ("speedtest-store", "0700")


def test_invitations_are_off_and_what_is_there_without_them_is_what_was_there_before(here):
    unit, names = "speedtest-receive-http.service", ("speedtest_archive", "speedtest_front")
    known_to = "--invitations /var/lib/speedtest-archive/invitations "
    off, on = (
        [files_of(name, here, invitations_enabled=on, **more)[path]["content"] for name, path, more in (
            (names[0], UNITS + unit, {"https_enabled": True}),
            (names[1], "/etc/speedtest-front/Caddyfile", {"tls": "internal", "deliver_enabled": True}),
        )]
        for on in (False, True)
    )  # fmt: skip
    assert off[0] == on[0].replace(known_to, "")
    assert known_to in on[0]
    begin = on[1].index("\thandle /enrol {")
    assert off[1] == on[1][:begin] + on[1][on[1].index("\t# X-Forwarded-For", begin) :]
    assert (
        "/var/lib/speedtest-archive/invitations" in wanted(names[0], here, https_enabled=True).desired["absent_paths"]
    )


@pytest.mark.parametrize(("shared", "name"), [(False, "ingest"), (True, "share")])
def test_systemd_itself_reads_the_times_of_every_timer_of_an_archive_host(here, shared, name):
    files = files_of("speedtest_archive", here, **STORE, shared=shared, backup_repository="/mnt/usb/backup")
    timers = {path: one["content"] for path, one in files.items() if path.endswith(".timer")}
    assert f"{UNITS}speedtest-{name}.timer" in timers
    for path, content in timers.items():
        times = re.findall("(?m)^OnCalendar=(.*)$", content)
        assert times, path
        done = subprocess.run(["systemd-analyze", "calendar", *times], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path}: {done.stderr}"
