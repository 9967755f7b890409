"""Asks two dashboards of one host the same, and prints what differs.

ask.py PORT OTHER_PORT <questions      (JSON: [[method, path, headers, body]])

Each line is JSON: what is wrong, the question, both answers. Time goes on meanwhile, and with it what a page tells
("3 min ago"): the first is asked before and after the second, and again where its own answer has become another one.
Left out is what never is the same: the header Date, and of /api/status the moment that it was asked at and the bytes
that are free on a disk that others write to.
"""

import http.client
import json
import re
import sys

TRIES = 8
MOVING = re.compile(rb'(?<=^\{"ok":true,"at":)"[^"]+"|(?<=^\{"ok":false,"at":)"[^"]+"|(?<="free_bytes":)\d+')
OF_THE_SERVER = ("date",)  # by the clock's second


def ask(port, method, path, headers, body):
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    line.request(method, path, body, {"Host": "127.0.0.1:8000", **headers})
    answer = line.getresponse()
    told = sorted((name.lower(), value) for name, value in answer.getheaders() if name.lower() not in OF_THE_SERVER)
    found = [answer.status, told, MOVING.sub(b"null", answer.read()).hex()]
    line.close()
    return found


def both(one, other, question):
    for _ in range(TRIES):
        before, there, after = ask(one, *question), ask(other, *question), ask(one, *question)
        if before == after:
            return before, there
    return "never the same twice", None


one, other = int(sys.argv[1]), int(sys.argv[2])
for question in json.load(sys.stdin):
    here, there = both(one, other, question)
    if here != there:
        print(json.dumps(["differs", question, here, there]))
    elif here[0] >= 400:
        print(json.dumps(["refused", question, here, there]))
