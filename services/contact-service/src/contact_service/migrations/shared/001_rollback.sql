-- Rollback: Import queue
-- Version: 001
-- Description: undo: which tenant has an import that runs

DROP TABLE contact_import_queue;
