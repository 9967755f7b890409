-- What Ansible deployed on each node, and from when to when.
CREATE TABLE speedtest.schedule (
    node text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    interval_seconds integer NOT NULL CHECK (interval_seconds > 0),
    offset_seconds integer NOT NULL,
    location text,
    plan_download_bps double precision,
    plan_upload_bps double precision,
    PRIMARY KEY (node, valid_from)
);

-- The last record of each node.
CREATE VIEW speedtest.latest AS
SELECT last.*
FROM (SELECT DISTINCT node FROM speedtest.rollup_day WHERE node <> '') AS known
CROSS JOIN LATERAL (
    SELECT * FROM speedtest.records WHERE records.node = known.node ORDER BY started_at DESC, run_id DESC LIMIT 1
) AS last;

-- What became of each node's slots, by day (UTC) of the slot. Of one that is younger than a quarter of an hour nothing
-- is known yet: it is pending. Ask for days, or for a node: what is not asked for is not counted.
CREATE VIEW speedtest.coverage_day AS
SELECT
    part.node,
    part.day,
    max(part.location) AS location,
    sum(slots.expected)::bigint AS expected,
    sum(slots.ok)::bigint AS ok,
    sum(slots.partial)::bigint AS partial,
    sum(slots.failed)::bigint AS failed,
    sum(slots.skipped)::bigint AS skipped,
    sum(slots.missed)::bigint AS missed,
    sum(slots.pending)::bigint AS pending
FROM (
    SELECT
        schedule.node,
        coalesce(schedule.location, 'unknown-location') AS location,
        schedule.interval_seconds AS step,
        schedule.offset_seconds AS phase,
        day.day::date AS day,
        greatest(schedule.valid_from, day.day AT TIME ZONE 'UTC') AS first,
        least(schedule.valid_to, (day.day + interval '1 day') AT TIME ZONE 'UTC', now()) AS last
    FROM speedtest.schedule
    CROSS JOIN LATERAL generate_series(
        date_trunc('day', schedule.valid_from AT TIME ZONE 'UTC'),
        least(schedule.valid_to, now()) AT TIME ZONE 'UTC',
        interval '1 day'
    ) AS day (day)
) AS part
CROSS JOIN LATERAL (
    SELECT
        count(*) AS expected,
        count(*) FILTER (WHERE recorded.status = 'ok') AS ok,
        count(*) FILTER (WHERE recorded.status = 'partial') AS partial,
        count(*) FILTER (WHERE recorded.status = 'failed') AS failed,
        count(*) FILTER (WHERE recorded.status = 'skipped') AS skipped,
        count(*) FILTER (WHERE recorded.status IS NULL AND slot.at <= now() - interval '15 minutes') AS missed,
        count(*) FILTER (WHERE recorded.status IS NULL AND slot.at > now() - interval '15 minutes') AS pending
    FROM (
        SELECT to_timestamp(number * part.step + part.phase) AS at
        FROM generate_series(
            ceil((extract(epoch FROM part.first) - part.phase) / part.step)::bigint,
            ceil((extract(epoch FROM part.last) - part.phase) / part.step)::bigint - 1
        ) AS number
    ) AS slot
    LEFT JOIN (
        SELECT DISTINCT ON (records.scheduled_at) records.scheduled_at, records.status
        FROM speedtest.records
        WHERE records.node = part.node
            AND records.started_at >= part.first - interval '1 day'
            AND records.started_at < part.last + interval '1 day'
            AND records.scheduled_at >= part.first
            AND records.scheduled_at < part.last
        ORDER BY records.scheduled_at, records.started_at
    ) AS recorded ON recorded.scheduled_at = slot.at
) AS slots
WHERE part.first < part.last
GROUP BY part.node, part.day;
