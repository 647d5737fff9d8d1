-- Migration: Deals
-- Version: 001
-- Description: pipelines and their stages, deals and where they have been, why they were lost, who belongs to them

CREATE TABLE pipelines (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    is_default boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE pipelines IS 'its version is that of its stages, too: they change together';
CREATE UNIQUE INDEX pipelines_name ON pipelines (lower(name));
CREATE UNIQUE INDEX pipelines_default ON pipelines (is_default) WHERE is_default;

CREATE TABLE stages (
    id uuid PRIMARY KEY,
    pipeline_id uuid NOT NULL REFERENCES pipelines ON DELETE CASCADE,
    key text COLLATE "C" NOT NULL,
    name text NOT NULL,
    position integer NOT NULL,
    probability smallint NOT NULL,
    outcome text NOT NULL,
    next_stages text[],
    UNIQUE (pipeline_id, key),
    UNIQUE (pipeline_id, position) DEFERRABLE INITIALLY DEFERRED,
    CHECK (outcome = 'open' AND probability BETWEEN 0 AND 100
        OR outcome = 'won' AND probability = 100
        OR outcome = 'lost' AND probability = 0)
);
COMMENT ON COLUMN stages.key IS 'what requests and events call it; never changed';
COMMENT ON COLUMN stages.next_stages IS 'keys of the stages that follow; null: any';

CREATE TABLE lost_reasons (
    id uuid PRIMARY KEY,
    key text COLLATE "C" NOT NULL UNIQUE,
    name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);

CREATE TABLE deals (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    pipeline_id uuid NOT NULL REFERENCES pipelines,
    stage_id uuid NOT NULL REFERENCES stages,
    status text COLLATE "C" NOT NULL,
    probability smallint NOT NULL,
    amount_minor bigint NOT NULL CHECK (amount_minor BETWEEN 0 AND 999999999999999),
    currency text COLLATE "C" NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    expected_close_date date,
    owner_id text COLLATE "C",
    lost_reason_id uuid REFERENCES lost_reasons,
    lost_note text,
    stage_entered_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    due_on date GENERATED ALWAYS AS
        (coalesce((closed_at AT TIME ZONE 'UTC')::date, expected_close_date)) STORED,
    CHECK (status = 'open' AND probability BETWEEN 0 AND 100
        OR status = 'won' AND probability = 100
        OR status = 'lost' AND probability = 0),
    CHECK ((status = 'open') = (closed_at IS NULL)),
    CHECK ((status = 'lost') = (lost_reason_id IS NOT NULL))
);
COMMENT ON COLUMN deals.status IS 'the outcome of its stage, here too so that indexes have it';
COMMENT ON COLUMN deals.amount_minor IS 'in the smallest unit of the currency';
COMMENT ON COLUMN deals.due_on IS 'when it was closed, by the calendar of UTC, or is expected to be';
CREATE INDEX deals_created ON deals (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX deals_amount ON deals (amount_minor, id) WHERE deleted_at IS NULL;
CREATE INDEX deals_expected ON deals ((coalesce(expected_close_date, 'infinity')), id) WHERE deleted_at IS NULL;
CREATE INDEX deals_owner ON deals (owner_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX deals_stage ON deals (stage_id, stage_entered_at, id);
CREATE INDEX deals_pipeline ON deals (pipeline_id);
CREATE INDEX deals_lost_reason ON deals (lost_reason_id) WHERE lost_reason_id IS NOT NULL;
CREATE INDEX deals_closed ON deals (closed_at) WHERE deleted_at IS NULL AND closed_at IS NOT NULL;
CREATE INDEX deals_deleted ON deals (id) WHERE deleted_at IS NOT NULL;
CREATE INDEX deals_due ON deals (due_on) WHERE deleted_at IS NULL AND status <> 'lost';
-- It holds all that a board and ageing sum up, which then read no row of the table.
CREATE INDEX deals_open ON deals (pipeline_id, stage_id)
    INCLUDE (currency, amount_minor, probability, owner_id, created_at)
    WHERE deleted_at IS NULL AND status = 'open';

CREATE TABLE deal_visits (
    id uuid PRIMARY KEY,
    deal_id uuid NOT NULL REFERENCES deals ON DELETE CASCADE,
    pipeline_id uuid NOT NULL,
    stage text COLLATE "C" NOT NULL,
    probability smallint NOT NULL,
    amount_minor bigint NOT NULL,
    currency text COLLATE "C" NOT NULL,
    moved_by text NOT NULL,
    entered_at timestamptz NOT NULL DEFAULT now(),
    left_at timestamptz,
    CHECK (left_at >= entered_at)
);
COMMENT ON TABLE deal_visits IS 'where a deal has been, for how long; what it was worth when it came there';
CREATE UNIQUE INDEX deal_visits_current ON deal_visits (deal_id) WHERE left_at IS NULL;
CREATE INDEX deal_visits_deal ON deal_visits (deal_id, entered_at, id);
CREATE INDEX deal_visits_left ON deal_visits (left_at) WHERE left_at IS NOT NULL;

CREATE TABLE deal_contacts (
    deal_id uuid NOT NULL REFERENCES deals ON DELETE CASCADE,
    contact_id uuid NOT NULL,
    role text,
    added_at timestamptz NOT NULL DEFAULT now(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (deal_id, contact_id)
);
COMMENT ON COLUMN deal_contacts.contact_id IS 'of contact-service, which said that there is one';
CREATE INDEX deal_contacts_contact ON deal_contacts (contact_id, deal_id);

CREATE TABLE merged_contacts (
    contact_id uuid PRIMARY KEY,
    merged_into uuid NOT NULL,
    CHECK (merged_into <> contact_id)
);
COMMENT ON TABLE merged_contacts IS 'what contact-service told: who became part of whom, in whatever order';

-- Ids of version 7 (RFC 9562, 5.7): milliseconds before the random part of one of version 4, whose
-- version 0100 becomes 0111 by two bits. PostgreSQL has uuidv7() from 18 on.
WITH fresh AS MATERIALIZED (
    SELECT n, encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) PLACING substring(
        int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')::uuid AS id
    FROM generate_series(0, 12) AS n
), pipeline AS (
    INSERT INTO pipelines (id, name, is_default) SELECT id, 'Sales', true FROM fresh WHERE n = 0
    RETURNING id
), reasons AS (
    INSERT INTO lost_reasons (id, key, name)
    SELECT fresh.id, said.key, said.name FROM fresh JOIN (VALUES
        (7, 'price', 'Price'), (8, 'competitor', 'A competitor'), (9, 'no_budget', 'No budget'),
        (10, 'no_decision', 'No decision'), (11, 'timing', 'Timing'), (12, 'other', 'Other')
    ) AS said (n, key, name) USING (n)
)
INSERT INTO stages (id, pipeline_id, key, name, position, probability, outcome)
SELECT fresh.id, pipeline.id, said.key, said.name, said.n, said.probability, said.outcome
FROM pipeline, fresh JOIN (VALUES
    (1, 'prospecting', 'Prospecting', 10, 'open'), (2, 'qualification', 'Qualification', 25, 'open'),
    (3, 'proposal', 'Proposal', 50, 'open'), (4, 'negotiation', 'Negotiation', 75, 'open'),
    (5, 'closed_won', 'Closed won', 100, 'won'), (6, 'closed_lost', 'Closed lost', 0, 'lost')
) AS said (n, key, name, probability, outcome) USING (n);
