-- Rollback: Signing keys
-- Version: 001
-- Description: undo: the keys that tokens are signed with

DROP TABLE signing_keys;
