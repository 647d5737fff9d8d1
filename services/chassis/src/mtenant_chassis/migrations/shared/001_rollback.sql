-- Rollback: Mail queue
-- Version: 001
-- Description: undo: which tenant has a mail that waits

DROP TABLE mail_queue;
