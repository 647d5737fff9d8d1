-- Rollback: Chassis
-- Version: 001
-- Description: undo: answers of writes that may be sent again, the audit trail, mails that wait

DROP TABLE mail_intents;
DROP TABLE audit_entries;
DROP TABLE idempotency_keys;
