-- Migration: Preferences
-- Version: 001
-- Description: the tenant's settings, and the preferences of its users

CREATE TABLE tenant_settings (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    settings jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE tenant_settings IS 'one row; what it does not say has its default';
INSERT INTO tenant_settings DEFAULT VALUES;

CREATE TABLE user_preferences (
    user_id text COLLATE "C" PRIMARY KEY,
    preferences jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE user_preferences IS 'one row for each account of the tenant, from the moment its creation is known';
