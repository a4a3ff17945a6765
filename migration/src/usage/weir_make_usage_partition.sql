-- Makes the partition of usage_events for the month (UTC) that holds the given Unix millisecond,
-- unless it is there: true if it made one.
--
-- Safe to call by many at once, and beside open transactions that write events: CREATE TABLE …
-- PARTITION OF would lock out every reader and writer of usage_events, and deadlock with one that
-- finds its month missing; ATTACH PARTITION gets along with both.
--
-- The names are spelt out and the search path is fixed, as the function runs with its owner's
-- rights: nobody's own table or operator may come before the real ones.
CREATE FUNCTION {schema}.weir_make_usage_partition(at_ms bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    parent constant regclass := '{schema}.usage_events';
    month constant timestamp := date_trunc('month', to_timestamp(at_ms / 1000) AT TIME ZONE 'UTC');
    partition constant text := '{schema}.usage_events_' || to_char(month, 'YYYYMM');
    first_ms constant bigint := extract(epoch FROM month) * 1000;
    next_ms constant bigint := extract(epoch FROM month + interval '1 month') * 1000;
BEGIN
    -- No event is older than Weir, and a clock far ahead is a wrong one.
    IF month < '2025-01-01' OR month > now() AT TIME ZONE 'UTC' + interval '2 years' THEN
        RAISE EXCEPTION 'usage partition for %: no event can be of that month', month
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    -- weir, 2: one maker at a time. Number 1 is the migration's own lock.
    PERFORM pg_advisory_xact_lock(x'7765697200000002'::bigint);
    IF pg_partition_root(to_regclass(partition)) = parent THEN
        RETURN false;
    END IF;

    EXECUTE 'CREATE TABLE ' || partition
        || ' (LIKE {schema}.usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)';
    -- A UUIDv7 begins with its 48 bits of milliseconds.
    EXECUTE format(
        'ALTER TABLE {schema}.usage_events ATTACH PARTITION ' || partition || ' FOR VALUES FROM (%L) TO (%L)',
        (lpad(to_hex(first_ms), 12, '0') || repeat('0', 20))::uuid,
        (lpad(to_hex(next_ms), 12, '0') || repeat('0', 20))::uuid
    );
    RETURN true;
END
$function$;

REVOKE ALL ON FUNCTION {schema}.weir_make_usage_partition(bigint) FROM PUBLIC;
