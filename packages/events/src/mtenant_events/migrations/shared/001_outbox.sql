-- Migration: Outbox
-- Version: 001
-- Description: events that wait for the stream, written in the transaction of the change they tell of

CREATE SCHEMA IF NOT EXISTS eventing;

-- Whoever may use a table in it is granted that on the table; the schema's name is no secret.
GRANT USAGE ON SCHEMA eventing TO PUBLIC;

-- Made in the schema of this migration and then moved, so that it has the default privileges of that
-- schema: those of the application, whatever its role is called.
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY,
    tenant text COLLATE "C" NOT NULL CHECK (tenant ~ '^[a-z0-9][a-z0-9_]{0,55}$'),
    key text COLLATE "C" NOT NULL CHECK (octet_length(key) BETWEEN 1 AND 512),
    subject text NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    delayed_until timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    last_error text,
    -- Not the id alone: a relay walks over the tenants that wait, and takes some rows of each.
    PRIMARY KEY (tenant, id)
);
COMMENT ON COLUMN outbox.key IS 'rows of one tenant and key reach the stream in the order of their ids';
COMMENT ON COLUMN outbox.delayed_until IS 'set when publishing failed; later rows of the key wait, too';

-- Tiny as long as nothing fails; a relay asks it for every row that it takes.
CREATE INDEX outbox_delayed ON outbox (tenant, key, id) WHERE delayed_until IS NOT NULL;

-- A queue: every row dies young, and what scans it reads over the dead until they are removed.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0,
    autovacuum_analyze_threshold = 10000);

ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;

-- A transaction of a tenant adds events of that tenant, and one of no tenant (which makes tenants)
-- those it names. Nobody but a relay reads or changes a row.
CREATE POLICY outbox_add ON outbox FOR INSERT
    WITH CHECK (coalesce(current_setting('mtenant.tenant_id', true), '') IN ('', tenant));
CREATE POLICY outbox_relay ON outbox
    USING (current_setting('mtenant.relay', true) = 'on');

ALTER TABLE outbox SET SCHEMA eventing;
