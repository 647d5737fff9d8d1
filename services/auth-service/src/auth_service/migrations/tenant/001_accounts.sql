-- Migration: Accounts
-- Version: 001
-- Description: users, their logins, and the tokens that they were given; of tokens there are digests only

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text COLLATE "C" NOT NULL UNIQUE,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'member', 'manager', 'admin', 'owner')),
    status text NOT NULL CHECK (status IN ('pending', 'active', 'disabled')),
    password_hash text,
    email_verified_at timestamptz,
    last_login_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
COMMENT ON COLUMN users.email IS 'in lower case';
COMMENT ON COLUMN users.status IS 'pending: registered openly, and the address is not verified yet';
CREATE INDEX users_created_at ON users (created_at, id);
-- Few are owners, and few disabled: who looks for them would read everybody else first.
CREATE INDEX users_by_role ON users (role, created_at, id);
CREATE INDEX users_by_status ON users (status, created_at, id);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    user_agent text,
    address text,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_why text,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX sessions_of_user ON sessions (user_id, expires_at);

CREATE TABLE refresh_tokens (
    family uuid PRIMARY KEY,
    session_id uuid NOT NULL UNIQUE REFERENCES sessions ON DELETE CASCADE,
    counter bigint NOT NULL DEFAULT 0,
    rotated_at timestamptz,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
COMMENT ON TABLE refresh_tokens IS 'a family is one row: its newest token is the one with this counter';

CREATE TABLE password_reset_tokens (
    digest bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX password_reset_tokens_of_user ON password_reset_tokens (user_id);

CREATE TABLE email_verification_tokens (
    digest bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);
CREATE INDEX email_verification_tokens_of_user ON email_verification_tokens (user_id);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    digest bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_of_user ON api_keys (user_id, created_at);
