"""What a stranger does with a node's key: run on the node, as its account. Prints one JSON object per delivery.

attack.py '{"seconds": 60, "victim": "attic", "location": "home", "interval": 60, "offset": 7, "connections": 60}'
"""

import base64
import hashlib
import json
import subprocess
import sys
import time
import uuid
import zlib
from collections import Counter
from datetime import datetime, timezone

NAMESPACE = uuid.UUID("5b3f1f4e-6f5a-4a57-9c1c-0d7c5f0e8a11")  # public, as all of the arithmetic is
HOUR = 3600
DELIVERY_BYTES = 63_900_000
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
SSH = [
    *("ssh", "-F", "none", "-T", "-i", OWN["KEY_FILE"], "-p", OWN["ARCHIVE_PORT"], "-o", "BatchMode=yes"),
    *("-o", f"UserKnownHostsFile={OWN['KNOWN_HOSTS_FILE']}", "-o", "LogLevel=ERROR", "-o", "ServerAliveInterval=5"),
]
ARCHIVE = f"{OWN['ARCHIVE_USER']}@{OWN['ARCHIVE_HOST']}"


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
    """Send bytes, or pieces of bytes; print what the archive answers. It may hang up before all is sent."""
    began = time.monotonic()
    process = subprocess.Popen(
        [*SSH, ARCHIVE, "receive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    )
    try:
        for piece in [payload] if isinstance(payload, bytes) else payload:
            process.stdin.write(piece)
        process.stdin.close()
    except BrokenPipeError:
        pass
    said = process.stdout.read().decode(errors="replace").strip()
    process.wait()
    try:
        answer = json.loads(said.splitlines()[-1])
    except (ValueError, IndexError):
        answer = {"refused": "no answer", "message": said[-300:]}
    told = {"attack": what, "seconds": round(time.monotonic() - began, 1), "refused": answer.get("refused")}
    told["message"] = answer.get("message")
    told["accepted"] = len(answer.get("accepted", []))
    for kind in ("rejected", "later"):
        told[kind] = Counter(words.split(":")[0] for words in answer.get(kind, {}).values())
    print(json.dumps(told), flush=True)
    return answer


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


def main():
    order = json.loads(sys.argv[1])
    began = time.monotonic()
    idle = [
        subprocess.Popen(
            [*SSH, "-N", ARCHIVE], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(order["connections"])
    ]
    others_runs(order)
    others_places(order)
    months()
    two_of_one()
    bombs(order.get("bombs", 100))
    largest_rows(1000)
    garbage(b"\xff" * 31_000 + b"\n")
    garbage(b'{"a": "' + b"x" * 3_200 + b'"}\n')
    while time.monotonic() - began < order["seconds"]:
        garbage(b"\xff" * 6_000 + b"\n")
        garbage(b'{"run_id": "' + b"y" * 30_000 + b'"}\n')
        largest_rows(2000)
    held = sum(process.poll() is None for process in idle)
    print(json.dumps({"attack": "idle connections", "held": held, "seconds": round(time.monotonic() - began, 1)}))
    for process in idle:
        process.kill()
        process.wait()


main()
