-- Migration: Chassis
-- Version: 001
-- Description: answers of writes that may be sent again, the audit trail, mails that wait

CREATE TABLE idempotency_keys (
    service text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    headers jsonb NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (service, key)
);
COMMENT ON COLUMN idempotency_keys.key IS 'a digest of principal, route and the key that the client chose';
COMMENT ON COLUMN idempotency_keys.fingerprint IS 'a digest of the request: another one is refused';
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (service, created_at);

CREATE TABLE audit_entries (
    id uuid NOT NULL,
    service text COLLATE "C" NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL,
    entity text NOT NULL,
    entity_id text,
    before jsonb,
    after jsonb,
    request_id text,
    -- In the order of the list. By its id alone nobody asks for one, and an index of ids that are drawn
    -- at random is written all over.
    PRIMARY KEY (service, at, id)
);
CREATE INDEX audit_entries_entity ON audit_entries (service, entity, entity_id, at);

CREATE TABLE mail_intents (
    id uuid PRIMARY KEY,
    service text COLLATE "C" NOT NULL,
    recipient text NOT NULL,
    subject text NOT NULL,
    body_text text,
    body_html text,
    message_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    failed_at timestamptz,
    error text
);
COMMENT ON COLUMN mail_intents.body_text IS 'forgotten once the mail is sent or given up: it may hold a token';
