-- Migration: Custom fields
-- Version: 002
-- Description: the fields that a tenant adds to deals, and their values

-- Not custom_fields: that table of the tenant's schema is contact-service's.
CREATE TABLE deal_custom_fields (
    id uuid PRIMARY KEY,
    entity text COLLATE "C" NOT NULL CHECK (entity IN ('deal')),
    key text COLLATE "C" NOT NULL,
    label text NOT NULL,
    type text COLLATE "C" NOT NULL CHECK (type IN ('text', 'number', 'boolean', 'date', 'choice')),
    choices text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (entity, key),
    CHECK ((type = 'choice') = (choices IS NOT NULL))
);

ALTER TABLE deals ADD COLUMN custom jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN deals.custom IS 'values by the keys of the tenant''s own fields';
-- Deleted ones, too, and keys as well as values: a field that any deal has a value of does not go.
CREATE INDEX deals_custom ON deals USING gin (custom);
