-- Rollback: Unsubscribe
-- Version: 002
-- Description: undo: where a mail's recipient ends mails of its kind

ALTER TABLE mail_intents DROP COLUMN unsubscribe;
