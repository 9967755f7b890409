"""What preflight refuses of the object store: a key that can be guessed, and what has no room."""

from __future__ import annotations

import pytest
from everything import GROUPS, T, problems

S = "speedtest_store_"
KEYS = {S + "access_key": "publisher", S + "secret_key": "3f2a9c1e77b04d5580aa91c2"}
WITH_STORE = {**GROUPS, "speedtest_store": ["h"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({S + "access_key": ""}, [S + "access_key: seen nothing", "vault"]),
        ({S + "secret_key": ""}, [S + "secret_key: seen nothing", "openssl rand -hex 20"]),
        ({S + "secret_key": "minioadmin"}, [S + "secret_key: seen a value that is not shown", "can be guessed"]),
        ({S + "secret_key": "a" * 40}, [S + "secret_key", "can be guessed"]),
        ({S + "secret_key": "publisher-publisher-publisher"}, [S + "secret_key", "without the id in it"]),
        ({S + "secret_key": "with a space in it, and long"}, [S + "secret_key", "letters, digits"]),
        ({S + "port": 8987}, [S + "port: seen 8987", T + "librespeed_port is one of 8987 to 8990"]),
        ({S + "port": 5200}, [S + "port: seen 5200", T + "iperf3_ports is one of"]),
        ({S + "dir": "/srv/speedtest-archive/objects"}, [S + "dir", "none inside another"]),
        ({S + "bucket": "My_Bucket"}, [S + "bucket", "lower-case"]),
        ({S + "max_gb": 1}, [S + "max_gb", "from 5"]),
        ({S + "listen": "everywhere"}, [S + "listen", "an IPv4 or IPv6 address"]),
    ],
)
def test_a_store_without_a_good_key_or_room_is_refused(values, words):
    assert problems(WITH_STORE, **KEYS) == []
    (line,) = problems(WITH_STORE, **{**KEYS, **values})
    for word in words:
        assert word in line
    assert "minioadmin" not in line


def test_what_goes_needs_no_key():
    assert problems(WITH_STORE, **{S + "state": "absent"}) == []
