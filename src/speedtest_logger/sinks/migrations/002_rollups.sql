-- Figures of each hour and day (UTC), as exact percentiles: low is the 10th, high the 90th, in between the median.
-- A location that several nodes measured has rows of its own under the node ''.
CREATE TABLE speedtest.rollup_hour (
    node text NOT NULL,
    location text NOT NULL,
    start timestamptz NOT NULL,
    ok integer NOT NULL, partial integer NOT NULL, failed integer NOT NULL, skipped integer NOT NULL,
    download_low double precision, download double precision, download_high double precision, download_tests integer NOT NULL,
    upload_low double precision, upload double precision, upload_high double precision, upload_tests integer NOT NULL,
    latency_low double precision, latency double precision, latency_high double precision, latency_tests integer NOT NULL,
    jitter_low double precision, jitter double precision, jitter_high double precision, jitter_tests integer NOT NULL,
    download_latency_low double precision, download_latency double precision, download_latency_high double precision, download_latency_tests integer NOT NULL,
    upload_latency_low double precision, upload_latency double precision, upload_latency_high double precision, upload_latency_tests integer NOT NULL,
    loss_low double precision, loss double precision, loss_high double precision, loss_tests integer NOT NULL,
    bytes_received bigint, bytes_sent bigint,
    PRIMARY KEY (location, node, start)
);
CREATE INDEX ON speedtest.rollup_hour (start);

CREATE TABLE speedtest.rollup_day (
    node text NOT NULL,
    location text NOT NULL,
    start timestamptz NOT NULL,
    ok integer NOT NULL, partial integer NOT NULL, failed integer NOT NULL, skipped integer NOT NULL,
    download_low double precision, download double precision, download_high double precision, download_tests integer NOT NULL,
    upload_low double precision, upload double precision, upload_high double precision, upload_tests integer NOT NULL,
    latency_low double precision, latency double precision, latency_high double precision, latency_tests integer NOT NULL,
    jitter_low double precision, jitter double precision, jitter_high double precision, jitter_tests integer NOT NULL,
    download_latency_low double precision, download_latency double precision, download_latency_high double precision, download_latency_tests integer NOT NULL,
    upload_latency_low double precision, upload_latency double precision, upload_latency_high double precision, upload_latency_tests integer NOT NULL,
    loss_low double precision, loss double precision, loss_high double precision, loss_tests integer NOT NULL,
    bytes_received bigint, bytes_sent bigint,
    PRIMARY KEY (location, node, start)
);
CREATE INDEX ON speedtest.rollup_day (start);
