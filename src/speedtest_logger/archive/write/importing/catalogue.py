"""The formats that are known: by which columns, in which unit, and from where that is known."""

from __future__ import annotations

from speedtest_logger.archive.write.importing.formats import Format
from speedtest_logger.archive.write.importing.paths import LIBRESPEED, OOKLA, OOKLA_CSV, SIVEL, TRACKER
from speedtest_logger.archive.write.importing.prepare import not_twice_the_download, told_unit, with_data

BITS = 1 / 8  # for a parser that wants bytes/s
MBIT = 1e6 / 8
OWN = "speedtest-logger"


def names(text: str) -> frozenset[str]:
    """Names of columns in a text."""
    return frozenset(text.split())


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
