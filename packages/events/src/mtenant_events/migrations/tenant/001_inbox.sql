-- Migration: Inbox
-- Version: 001
-- Description: which events a consumer has handled, written in the transaction of what it did

CREATE TABLE event_inbox (
    consumer text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    handled_at timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    known_ends integer NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer, event_id)
);
COMMENT ON COLUMN event_inbox.handled_at IS 'NULL while no attempt has succeeded';
COMMENT ON COLUMN event_inbox.attempts IS 'how often the handler raised';
COMMENT ON COLUMN event_inbox.known_ends IS 'how many deliveries ended in a way that was told';

CREATE INDEX event_inbox_received_at ON event_inbox (received_at);
