-- Records as the archive has them: what a column means stands in docs/reference/record.md.
CREATE TABLE speedtest.records (
    schema_version bigint NOT NULL,
    run_id uuid NOT NULL,
    node text NOT NULL,
    location text NOT NULL,
    uplink text,
    runtime text NOT NULL,
    logger_version text,
    scheduled_at timestamptz,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    status text NOT NULL,
    reason text,
    message text,
    engine text,
    engine_requested text,
    engine_version text,
    attempt bigint,
    server_id text,
    server_name text,
    server_host text,
    server_country text,
    isp text,
    external_ip text,
    interface text,
    ip_family bigint,
    download_bps double precision,
    upload_bps double precision,
    latency_ms double precision,
    latency_low_ms double precision,
    latency_high_ms double precision,
    jitter_ms double precision,
    download_latency_ms double precision,
    upload_latency_ms double precision,
    packet_loss_pct double precision,
    bytes_received bigint,
    bytes_sent bigint,
    background_rx_bytes bigint,
    background_tx_bytes bigint,
    result_url text,
    raw_sha256 text,
    PRIMARY KEY (node, started_at, run_id)
) PARTITION BY RANGE (started_at);
CREATE INDEX ON speedtest.records (location, started_at);

-- Where the sink has got to: one row. `cursor` is the archive's change up to which all rows are here.
CREATE TABLE speedtest.sink (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    cursor text,
    line bigint NOT NULL DEFAULT -1,
    schedule text NOT NULL DEFAULT '',
    first_month date,
    synced_at timestamptz
);
INSERT INTO speedtest.sink DEFAULT VALUES;

-- Months that an unfinished sync has carried out already, each up to a change.
CREATE TABLE speedtest.sink_month (
    month date PRIMARY KEY,
    cursor text NOT NULL
);
