"""The formats that are known: by which columns, in which unit, and from where that is known."""

from __future__ import annotations

import json
from typing import Any

from speedtest_logger.archive.write.importing.formats import Format, Row, plain_name
from speedtest_logger.errors import RecordError

BITS = 1 / 8  # for a parser that wants bytes/s
MBIT = 1e6 / 8
UNITS = {"mbit/s": 1e6, "kbit/s": 1e3, "gbit/s": 1e9, "bit/s": 1.0}  # that murakami names
OWN = "speedtest-logger"


def names(text: str) -> frozenset[str]:
    """Names of columns in a text."""
    return frozenset(text.split())


OOKLA = {
    "ping_latency": "ping.latency",
    "ping_jitter": "ping.jitter",
    "ping_low": "ping.low",
    "ping_high": "ping.high",
    "download_bandwidth": "download.bandwidth",
    "upload_bandwidth": "upload.bandwidth",
    "download_bytes": "download.bytes",
    "upload_bytes": "upload.bytes",
    "download_latency_iqm": "download.latency.iqm",
    "upload_latency_iqm": "upload.latency.iqm",
    "packetloss": "packetLoss",
    "isp": "isp",
    "interface_externalip": "interface.externalIp",
    "server_id": "server.id",
    "server_name": "server.name",
    "server_host": "server.host",
    "server_country": "server.country",
    "server_ip": "server.ip",
    "result_url": "result.url",
}
OOKLA_CSV = {
    "idle_latency": "ping.latency",
    "latency": "ping.latency",
    "idle_jitter": "ping.jitter",
    "jitter": "ping.jitter",
    "idle_latency_low": "ping.low",
    "idle_latency_high": "ping.high",
    "packet_loss": "packetLoss",
    "download": "download.bandwidth",
    "upload": "upload.bandwidth",
    "download_bytes": "download.bytes",
    "upload_bytes": "upload.bytes",
    "download_latency": "download.latency.iqm",
    "upload_latency": "upload.latency.iqm",
    "server_name": "server.name",
    "server_id": "server.id",
    "share_url": "result.url",
}
SIVEL = {
    "download": "download",
    "upload": "upload",
    "ping": "ping",
    "bytes_received": "bytes_received",
    "bytes_sent": "bytes_sent",
    "share": "share",
    "server_id": "server.id",
    "server_name": "server.name",
    "server_host": "server.host",
    "server_country": "server.country",
    "client_isp": "client.isp",
    "client_ip": "client.ip",
    "ip_address": "client.ip",
}
LIBRESPEED = {
    "download": "download",
    "upload": "upload",
    "ping": "ping",
    "jitter": "jitter",
    "bytes_received": "bytes_received",
    "bytes_sent": "bytes_sent",
    "server_name": "server.name",
    "server_url": "server.url",
    "address": "server.url",
    "client_ip": "client.ip",
    "ip": "client.ip",
    "client_org": "client.org",
}
TRACKER = {
    "ping": "ping.latency",
    "ping_jitter": "ping.jitter",
    "ping_low": "ping.low",
    "ping_high": "ping.high",
    "packet_loss": "packetLoss",
    "download_bytes": "download.bytes",
    "upload_bytes": "upload.bytes",
    "download_latency_avg": "download.latency.iqm",
    "upload_latency_avg": "upload.latency.iqm",
    "server_id": "server.id",
    "server_name": "server.name",
    "server_host": "server.host",
    "isp": "isp",
    "ip_address": "interface.externalIp",
    "result_url": "result.url",
}


def with_data(row: Row) -> Row:
    """A row of the Tracker's table: what `data`, Ookla's own JSON, says besides. Raises RecordError where they differ.

    The table's `download` and `upload` are that JSON's bandwidth (app/Jobs/Ookla/RunSpeedtestJob.php).
    """
    content = row.get("data")
    if isinstance(content, str) and content.strip():
        try:
            content = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise RecordError("bad_data", f"data is not JSON: {content!r:.60}") from error
    if not isinstance(content, dict):
        flat = {name.removeprefix("data_"): value for name, value in row.values.items() if name.startswith("data_")}
    else:
        flat = flattened(content)
    values = dict(row.values)
    for column in ("download", "upload"):
        for told, factor in ((flat.get(f"{column}_bandwidth"), 1), (row.get(f"{column}_bits"), 1 / 8)):
            if told is not None and row.get(column) is not None and not _same(row.get(column), told, factor):
                raise RecordError("bad_number", f"{column} is {row.get(column)!r:.40}, but next to it is {told!r:.40}")
    for name, path in OOKLA.items():
        column = next((mine for mine, its in TRACKER.items() if its == path), name)
        if values.get(column) in (None, "") and flat.get(name) is not None:
            values[column] = flat[name]
    values.setdefault("message", flat.get("message"))
    if flat.get("timestamp"):
        values["timestamp"] = flat["timestamp"]
    return Row(values, row.raw)


def _same(one: Any, other: Any, factor: float) -> bool:
    try:
        return abs(float(one) - float(other) * factor) <= 1 + 1e-6 * float(one)
    except (TypeError, ValueError):
        return False


def flattened(content: dict[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """A nested object's values by their names joined with `_`, in lower case."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        joined = plain_name(f"{prefix}{name}")
        if isinstance(value, dict) and depth < 8:
            flat.update(flattened(value, f"{joined}_", depth + 1))
        else:
            flat[joined] = value
    return flat


def told_unit(row: Row) -> Row:
    """A murakami row with its speeds in bit/s, from the unit beside them. Raises RecordError for another unit."""
    values = dict(row.values)
    for name in ("download", "upload"):
        value, unit = row.get(f"{name}value"), str(row.get(f"{name}unit") or "")
        if value is None:
            continue
        if unit.lower() not in UNITS or isinstance(value, (str, bool)):
            raise RecordError("bad_unit", f"{name}Value is {value!r:.40} {unit!r:.40}: not a known unit")
        values[name] = value * UNITS[unit.lower()]
    for told, unit in (("minrttvalue", "minrttunit"), ("ping", "pingunit")):
        if row.get(told) is not None:
            if str(row.get(unit)) != "ms":
                raise RecordError("bad_unit", f"{told} is in {row.get(unit)!r:.40}, not ms")
            values["ping"] = row.get(told)
    values["engine"] = plain_name(str(row.get("testname")))
    errors = [str(row.get(name)) for name in ("downloaderror", "uploaderror", "testerror") if row.get(name)]
    return Row({**values, "error": "; ".join(errors) or None}, row.raw)


def not_twice_the_download(row: Row) -> None:
    """Speedtest Tracker 0.16.0 to 0.16.2 wrote the download into `Upload`. Raises RecordError for such a row."""
    if row.get("download") not in (None, "") and row.get("download") == row.get("upload"):
        raise RecordError(
            "bad_number",
            "Upload is the download again, as Speedtest Tracker 0.16.0 to 0.16.2 wrote it: what it was is lost",
        )


TRACKER_SOURCE = "alexjustesen/speedtest-tracker"
FORMATS = (
    Format(
        OWN,
        "all: results/ of a node, export in every form",
        "bit/s",
        "this project (record.py)",
        names("run_id schema_version node"),
        enough=0,
    ),
    Format(
        "ookla",
        "Ookla's speedtest 1.0 to 1.2: json, json-pretty, jsonl; flattened by SpeedSnake, pandas.json_normalize, "
        "Speedtest Tracker 1.6.2 to 1.13 (CSV)",
        "bytes/s",
        "speedtest's manual, 'machine readable formats use bytes'; thekhoo/speedsnake data/results.py; "
        f"{TRACKER_SOURCE} app/Filament/Exports/ResultExporter.php since 2b807d7f",
        names("download_bandwidth upload_bandwidth ping_latency"),
        names(
            "ping_jitter download_bytes upload_bytes download_elapsed upload_elapsed server_host "
            "server_id result_url result_id interface_externalip packetloss isp type"
        ),
        parser="ookla",
        engine="ookla",
        columns=OOKLA,
        status="status",
    ),
    Format(
        "ookla-log",
        "Ookla's error lines (json, jsonl)",
        "no speeds",
        "speedtest 1.2 itself",
        names("type level message timestamp"),
        enough=0,
        never=names("download_bandwidth downloadbandwidth"),
        parser="ookla",
        engine="ookla",
    ),
    Format(
        "ookla-csv",
        "Ookla's speedtest 1.0 to 1.2: csv, tsv, with or without header; needs a column `timestamp`",
        "bytes/s",
        "speedtest --output-header; its manual",
        names("download upload"),
        names(
            "download_bytes upload_bytes idle_latency latency idle_jitter packet_loss share_url download_server_count"
        ),
        enough=4,
        never=names("created_at ping"),
        parser="ookla",
        engine="ookla",
        columns=OOKLA_CSV,
    ),
    Format(
        "speedtest-cli",
        "sivel's speedtest-cli 1.0 to 2.1: --json, --csv with or without header; flattened by SpeedSnake",
        "bit/s",
        "sivel/speedtest-cli speedtest.py: SpeedtestResults.dict, csv_header",
        names("download upload ping"),
        names(
            "sponsor distance server_sponsor server_cc server_d server_lat server_id server_host server_country "
            "client_isp client_isprating client_loggedin client_lat speedtest_address"
        ),
        never=names("created_at"),
        parser="speedtest_cli",
        engine="speedtest_cli",
        columns=SIVEL,
    ),
    Format(
        "librespeed-cli",
        "librespeed-cli 1.0: --json, --json-stream, --csv with and without header",
        "Mbit/s",
        "librespeed/speedtest-cli report/json.go, report/csv.go; defs/bytes_counter.go: AvgMbps",
        names("download upload ping jitter"),
        names("server_url address client_ip client_hostname client_org client_region client_loc client_timezone ip"),
        never=names("created_at"),
        parser="librespeed",
        engine="librespeed",
        columns=LIBRESPEED,
    ),
    Format(
        "iperf3",
        "iperf3 -J, 3.1 to 3.18: TCP, UDP, -R, --bidir; one direction is a partial test",
        "bit/s",
        "esnet/iperf src/iperf_api.c: iperf_print_results",
        names("start_version start_system_info"),
        enough=0,
        parser="iperf3",
        engine="iperf3",
    ),
    Format(
        "speedtest-tracker-bits",
        "Speedtest Tracker 0.16.0 to 1.6.1 (February 2024 to June 2025): CSV",
        "bit/s",
        f"{TRACKER_SOURCE} app/Filament/Exports/ResultExporter.php 18602f57 to 6f9a51f2: download_bits",
        names("ping download upload created_at") | {"Created at"},
        frozenset({"Service", "Scheduled", "Status", "Download jitter", "Upload jitter", "Ping jitter", "Packet loss"}),
        parser="ookla",
        engine="ookla",
        status="status",
        check=not_twice_the_download,
        columns={**TRACKER, "download": ("download.bandwidth", BITS), "upload": ("upload.bandwidth", BITS)},
    ),
    Format(
        "speedtest-tracker",
        "Speedtest Tracker's table `results` (dump as CSV or JSON), its API's pages",
        "bytes/s",
        f"{TRACKER_SOURCE} database/migrations/2022_08_31_202106, app/Http/Resources/V1/ResultResource.php",
        names("ping download upload created_at service"),
        names("data data_type data_download_bandwidth download_bits download_bits_human benchmarks dispatched_by"),
        enough=1,
        parser="ookla",
        engine="ookla",
        status="status",
        prepare=with_data,
        columns={
            **TRACKER,
            "download": "download.bandwidth",
            "upload": "upload.bandwidth",
            "server_country": "server.country",
            "server_ip": "server.ip",
        },
    ),
    Format(
        "speedtest-tracker-2023",
        "Speedtest Tracker, January to 18 February 2023: CSV",
        "bytes/s",
        f"{TRACKER_SOURCE} app/Exports/ResultsSelectedBulkExport.php 84759a2c, its issue 529",
        names("ping download upload created_at"),
        names("server_url result_url successful data"),
        parser="ookla",
        engine="ookla",
        status="successful",
        prepare=with_data,
        columns={
            **TRACKER,
            "download": "download.bandwidth",
            "upload": "upload.bandwidth",
            "server_country": "server.country",
            "server_ip": "server.ip",
        },
    ),
    Format(
        "speedtest-tracker-mbit",
        "henrywhitaker3's Speedtest-Tracker, all: backup as CSV or JSON; /api/speedtest/latest of both",
        "Mbit/s",
        "henrywhitaker3/Speedtest-Tracker app/Helpers/BackupHelper.php, SpeedtestHelper::convert",
        names("ping download upload created_at"),
        names("server_host url failed"),
        parser="ookla",
        engine="ookla",
        status="failed",
        columns={
            "ping": "ping.latency",
            "download": ("download.bandwidth", MBIT),
            "upload": ("upload.bandwidth", MBIT),
            "server_id": "server.id",
            "server_name": "server.name",
            "server_host": "server.host",
            "url": "result.url",
        },
    ),
    Format(
        "murakami",
        "M-Lab's murakami: ndt5, ndt7, speedtest-cli (JSON lines)",
        "told in each row",
        "m-lab/murakami runners/ndt7.py, ndt5.py, speedtest.py up to b8e511d",
        names("testname downloadvalue downloadunit uploadvalue uploadunit"),
        enough=0,
        parser="speedtest_cli",
        engine="murakami",
        prepare=told_unit,
        columns={
            "download": "download",
            "upload": "upload",
            "ping": "ping",
            "servername": "server.name",
            "serverid": "server.id",
            "serverhost": "server.host",
            "servercountry": "server.country",
            "clientip": "client.ip",
            "isp": "client.isp",
            "share": "share",
            "bytesreceived": "bytes_received",
            "bytessent": "bytes_sent",
        },
    ),
    Format(
        "murakami-ookla",
        "M-Lab's murakami: Ookla's speedtest (JSON lines)",
        "bytes/s",
        "m-lab/murakami runners/speedtest.py: Ookla's bandwidth; its label said Bit/s before bb69232",
        names("testname downloadbandwidth uploadbandwidth"),
        enough=0,
        parser="ookla",
        engine="ookla",
        columns={**{name.replace("_", ""): path for name, path in OOKLA.items()}},
    ),
    Format(
        "librespeed-telemetry",
        "LibreSpeed's table `speedtest_users` as CSV or JSON",
        "Mbit/s",
        "librespeed/speedtest speedtest_worker.js: dlStatus, ulStatus; results/telemetry_mysql.sql",
        names("dl ul ping jitter timestamp"),
        names("ip ispinfo ua lang log extra"),
        parser="librespeed",
        engine="librespeed",
        columns={"dl": "download", "ul": "upload", "ping": "ping", "jitter": "jitter", "ip": "client.ip"},
    ),
    Format(
        "myspeed",
        "MySpeed 1.0: storage export as CSV or JSON",
        "Mbit/s",
        "gnmyt/myspeed server/routes/storage.js, models/Speedtests.js, util/providers/parseData.js",
        names("ping download upload created type"),
        names("serverid time error resultid"),
        parser="librespeed",
        engine="myspeed",
        status="error",
        columns={"ping": "ping", "download": "download", "upload": "upload"},
    ),
)
BY_NAME = {form.name: form for form in FORMATS}
HEADERLESS = tuple(
    tuple(line.split(","))
    for line in (
        "Server ID,Sponsor,Server Name,Timestamp,Distance,Ping,Download,Upload,Share,IP Address",  # speedtest-cli
        "Timestamp,Server Name,Address,Ping,Jitter,Download,Upload,Share,IP",  # librespeed-cli
        "server name,server id,latency,jitter,packet loss,download,upload,download bytes,upload bytes,share url",
        (
            "server name,server id,idle latency,idle jitter,packet loss,download,upload,download bytes,upload bytes,"
            "share url,download server count,download latency,download latency jitter,download latency low,"
            "download latency high,upload latency,upload latency jitter,upload latency low,upload latency high,"
            "idle latency low,idle latency high"
        ),
    )
)
