"""Follows two dashboards of one host over their WebSockets, and prints where they do not say the same.

follow.py PORT OTHER_PORT SECONDS <who      (JSON: the headers of who may look)

Compared are bytes: the answer to the handshake and every frame. Left out are the header Date and each process's own
count of what it has told (`cursor`). What comes when (a ping, a line's state) is each one's own affair: of what is told
of records, one text of both that begins with the same one has to be the same; prints `following` when they may come.
"""

import base64
import json
import re
import select
import socket
import struct
import sys
import time

OWN = "http://127.0.0.1:8000"
TEXT, CLOSE = 1, 8
MOVING = re.compile(rb'(?i)(?<=\r\ndate: )[^\r]+|(?<="cursor": )\d+')
TOO_MUCH = 21  # messages of a client


class Line:
    """One WebSocket, byte by byte."""

    def __init__(self, port, sent, query="", origin=OWN):
        self.end = socket.create_connection(("127.0.0.1", port), 30)
        wanted = {"Host": OWN[7:], "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(), "Origin": origin, **sent}  # fmt: skip
        asked = [f"GET /ws{query} HTTP/1.1", *(f"{name}: {value}" for name, value in wanted.items()), "", ""]
        self.end.sendall("\r\n".join(asked).encode())
        self.left = b""
        while b"\r\n\r\n" not in self.left:
            self.left += self.more()
        head, _, self.left = self.left.partition(b"\r\n\r\n")
        self.answer = head + b"\r\n"
        self.opened = head.startswith(b"HTTP/1.1 101 ")

    def more(self):
        if not (got := self.end.recv(65536)):
            raise EOFError
        return got

    def rest(self):
        """What follows a refusal, until the end or for as long as the answer says."""
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", self.answer)
        while len(self.left) < int(length[1] if length else 0):
            self.left += self.more()
        return self.left

    def frame(self):
        """The next one, its head and what it carries."""
        while True:
            size = self.left[1] if len(self.left) > 1 else 0
            at, short = {126: (4, ">H"), 127: (10, ">Q")}.get(size, (2, ""))
            if len(self.left) >= at:
                size = struct.unpack(short, self.left[2:at])[0] if short else size
                if len(self.left) >= at + size:
                    found, self.left = self.left[: at + size], self.left[at + size :]
                    return found[0] & 15, found[at:], found
            self.left += self.more()

    def say(self, text):
        self.end.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)


def masked(content):
    return MOVING.sub(b"null", content)


def begun(port, sent, query="", origin=OWN):
    """What one is told at first: the answer, and its body or the texts that are due."""
    line = Line(port, sent, query, origin)
    due = 1 + ("since=0" in query)
    return masked(
        line.answer + b"".join(line.frame()[2] for _ in range(due)) if line.opened else line.answer + line.rest()
    )


def hung_up(port, sent):
    """How one that talks is sent away."""
    line = Line(port, sent)
    for _ in range(TOO_MUCH):
        line.say(b"hello")
    while (found := line.frame())[0] != CLOSE:
        pass
    return found[2]


def of_records(lines, seconds):
    """Whether a text of records came to both that is the same; both of the last one otherwise."""
    told = [{}, {}]
    deadline = time.monotonic() + seconds
    last = [b"nothing", b"nothing"]
    while time.monotonic() < deadline:
        ready = select.select([line.end for line in lines], [], [], 1)[0]
        for place, line in enumerate(lines):
            if line.end not in ready:
                continue
            kind, text, whole = line.frame()
            if kind == TEXT and (said := json.loads(text))["type"] == "record":
                told[place][said["record"]["run_id"]] = last[place] = masked(whole)
        for run in told[0].keys() & told[1].keys():
            if told[0][run] == told[1][run]:
                return run, told[0][run], told[1][run]
    return None, *last


def show(what, *both):
    here, there = both
    print(
        json.dumps(["alike" if here == there else "differs", what, *(each.decode("utf-8", "replace") for each in both)])
    )


def cursor(line):
    return json.loads(line.frame()[1])["cursor"]


ports, seconds = [int(each) for each in sys.argv[1:3]], float(sys.argv[3])
who = json.load(sys.stdin)
for name, sent in {**who, "nobody": {}}.items():
    for query in ("", "?since=0", "?since=-1", "?since=x"):
        show(f"{name} {query}", *(begun(port, sent, query) for port in ports))
    show(f"{name} from elsewhere", *(begun(port, sent, origin="http://evil.example.org") for port in ports))
person = next(iter(who.values()))
show("who says too much", *(hung_up(port, person) for port in ports))
lines = [Line(port, person) for port in ports]
since = [cursor(line) for line in lines]
print("following", flush=True)
run, *told = of_records(lines, seconds)
show(f"a record: {run}", *told)
again = [Line(port, person, f"?since={at}") for port, at in zip(ports, since, strict=True)]
for line in again:
    line.frame()
# who comes back is told of all that came meanwhile, which for one may be a record more
found = [[each for each in json.loads(line.frame()[1])["records"] if each["run_id"] == run] for line in again]
show("who comes back", *(json.dumps(each).encode() for each in found))
