-- Rollback: Inbox
-- Version: 001
-- Description: undo: which events a consumer has handled

DROP TABLE event_inbox;
