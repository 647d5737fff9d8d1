-- Rollback: Custom fields
-- Version: 002
-- Description: undo: the fields that a tenant adds to deals, and their values

ALTER TABLE deals DROP COLUMN custom;
DROP TABLE deal_custom_fields;
