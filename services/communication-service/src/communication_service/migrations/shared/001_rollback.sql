-- Rollback: Schedule
-- Version: 001
-- Description: undo: which tenant has a reminder or a mail that is due

DROP TABLE communication_schedule;
