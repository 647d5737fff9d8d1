-- Migration: Import queue
-- Version: 001
-- Description: which tenant has an import that runs, so that a worker need not look at every tenant

CREATE TABLE contact_import_queue (
    id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL CHECK (tenant ~ '^[a-z0-9][a-z0-9_]{0,55}$'),
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN contact_import_queue.due_at IS 'in the future while somebody works on it';
CREATE INDEX contact_import_queue_due ON contact_import_queue (due_at);

ALTER TABLE contact_import_queue ENABLE ROW LEVEL SECURITY;
ALTER TABLE contact_import_queue FORCE ROW LEVEL SECURITY;

-- A transaction of a tenant changes what is that tenant's; only a worker sees all.
CREATE POLICY contact_import_queue_tenant ON contact_import_queue
    USING (tenant = current_setting('mtenant.tenant_id', true));
CREATE POLICY contact_import_queue_worker ON contact_import_queue
    USING (current_setting('mtenant.importer', true) = 'on');
