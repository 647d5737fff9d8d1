-- Migration: Signing keys
-- Version: 001
-- Description: the keys that tokens are signed with, the same in every replica

CREATE TABLE signing_keys (
    kid text COLLATE "C" PRIMARY KEY,
    sealed bytea NOT NULL,
    signs_from timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN signing_keys.sealed IS 'the private key, encrypted under a key that is not in the database';
COMMENT ON COLUMN signing_keys.signs_from IS 'until then it is published only, so that everybody knows it in time';
