-- Migration: Mail queue
-- Version: 001
-- Description: which tenant has a mail that waits, so that a worker need not look at every tenant

CREATE TABLE mail_queue (
    id uuid PRIMARY KEY,
    service text COLLATE "C" NOT NULL,
    tenant text COLLATE "C" NOT NULL CHECK (tenant ~ '^[a-z0-9][a-z0-9_]{0,55}$'),
    due_at timestamptz NOT NULL DEFAULT now(),
    attempts integer NOT NULL DEFAULT 0
);
CREATE INDEX mail_queue_due ON mail_queue (service, due_at);

ALTER TABLE mail_queue ENABLE ROW LEVEL SECURITY;
ALTER TABLE mail_queue FORCE ROW LEVEL SECURITY;

-- A transaction of a tenant adds mails of that tenant; only a worker sees them.
CREATE POLICY mail_queue_add ON mail_queue FOR INSERT
    WITH CHECK (tenant = current_setting('mtenant.tenant_id', true));
CREATE POLICY mail_queue_worker ON mail_queue
    USING (current_setting('mtenant.mailer', true) = 'on');
