"""Asks two dashboards of one host the same, and prints what differs.

ask.py PORT OTHER_PORT <questions      (JSON: [[method, path, headers, body]])

Each line is JSON: what is wrong, the question, both answers; of bodies that differ, the first lines that do. Time goes
on meanwhile, and records arrive, and each dashboard takes note of both at a moment of its own: both are asked at the
same moment for answers made anew, and again in the next second where these are not alike.
Left out is what never is the same: the header Date, and of /api/status the moment that it was asked at and the bytes
that are free on a disk that others write to.
"""

import http.client
import json
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor

TRIES = 10
MOVING = re.compile(rb'(?<=^\{"ok":true,"at":)"[^"]+"|(?<=^\{"ok":false,"at":)"[^"]+"|(?<="free_bytes":)\d+')
OF_THE_SERVER = ("date",)  # by the clock's second


def ask(port, method, path, sent, body):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request(method, path, body, {"Host": "127.0.0.1:8000", "Cache-Control": "no-cache", **sent})
    answer = line.getresponse()
    headers = sorted((name.lower(), value) for name, value in answer.getheaders() if name.lower() not in OF_THE_SERVER)
    found = [answer.status, headers, MOVING.sub(b"null", answer.read())]
    line.close()
    return found


def both(one, other, question):
    for _ in range(TRIES):
        with ThreadPoolExecutor(2) as pool:
            here, there = pool.map(lambda port: ask(port, *question), (one, other))
        if here == there:
            break
        time.sleep(1 - time.time() % 1)  # what ends now is told to the second
    return here, there


def told(answer, other):
    """Status, headers, and the lines of a body that the other's has not."""
    lines, others = answer[2].split(b"\n"), set(other[2].split(b"\n"))
    return [answer[0], answer[1], [line.decode("utf-8", "replace")[:300] for line in lines if line not in others][:5]]


one, other = int(sys.argv[1]), int(sys.argv[2])
for question in json.load(sys.stdin):
    here, there = both(one, other, question)
    if here != there:
        print(json.dumps(["differs", question, told(here, there), told(there, here)]))
    elif here[0] >= 400:
        print(json.dumps(["refused", question, here[0], there[0]]))
