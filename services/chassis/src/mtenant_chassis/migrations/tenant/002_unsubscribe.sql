-- Migration: Unsubscribe
-- Version: 002
-- Description: where a mail's recipient ends mails of its kind

ALTER TABLE mail_intents ADD COLUMN unsubscribe text;
COMMENT ON COLUMN mail_intents.unsubscribe IS 'holds a token: forgotten with the text';
