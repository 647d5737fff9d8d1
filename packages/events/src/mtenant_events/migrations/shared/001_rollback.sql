-- Rollback: Outbox
-- Version: 001
-- Description: undo: events that wait for the stream

DO $$
BEGIN
    PERFORM set_config('mtenant.relay', 'on', true);
    IF EXISTS (SELECT FROM eventing.outbox) THEN
        RAISE EXCEPTION 'events wait in eventing.outbox, and would be lost'
            USING HINT = 'let a relay publish them first';
    END IF;
END $$;

DROP TABLE eventing.outbox;
DROP SCHEMA eventing;
