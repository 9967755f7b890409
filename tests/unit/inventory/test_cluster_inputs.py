"""What preflight refuses of a cluster: parts and members that do not fit together."""

from __future__ import annotations

import pytest
from builders import ROOT
from everything import GROUPS, problems

from speedtest_logger.inventory import check
from speedtest_logger.inventory.found import Inventory

C = "speedtest_cluster_"
MEMBER = {C + "store_access_key": "reader", C + "store_secret_key": "3f2a9c1e77b04d5580aa91c2"}
WITH_CLUSTER = {**GROUPS, "speedtest_cluster": ["h"]}
ALL_PARTS = {**MEMBER, C + "parts": ["scheduler", "worker"]}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({C + "store_access_key": ""}, [C + "store_access_key: seen nothing", "a worker reads the object store"]),
        ({C + "parts": ["worker"]}, [C + "parts", "here it has 0 (none)"]),
        ({C + "parts": ["worker", "chief"]}, [C + "parts", "one of scheduler, worker"]),
        ({C + "worker_port": 8786}, [C + "worker_port: seen 8786", "is the same"]),
        ({C + "address": "192.0.2.9"}, [C + "scheduler_address: seen", "would look for it in vain"]),
        ({C + "version": "latest"}, [C + "version", "explicit version"]),
    ],
)
def test_a_cluster_that_does_not_fit_together_is_refused(values, words):
    assert problems(WITH_CLUSTER, **ALL_PARTS) == []
    (line,) = problems(WITH_CLUSTER, **{**ALL_PARTS, **values})
    for word in words:
        assert word in line


def test_members_of_a_cluster_are_alike():
    groups = {**GROUPS, "speedtest_cluster": ["h", "g"], "speedtest_nodes": ["h"]}
    for more, words in (
        ({}, []),
        ({C + "parts": ["scheduler"]}, ["2 (h, g)"]),
        ({C + "port": 9999}, [C + "port: seen 9999 on g", "h has another one"]),
    ):
        other = {**MEMBER, C + "parts": ["worker"], **more}
        found = check.problems(Inventory({"h": ALL_PARTS, "g": other}, groups, checkout=ROOT))
        assert [line for line in found if C in line and not all(word in line for word in words)] == []
        assert any(C in line for line in found) == bool(words), found
