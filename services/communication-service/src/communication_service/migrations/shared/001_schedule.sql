-- Migration: Schedule
-- Version: 001
-- Description: which tenant has a reminder or a mail that is due, so that nobody need look at every tenant

CREATE TABLE communication_schedule (
    id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL CHECK (tenant ~ '^[a-z0-9][a-z0-9_]{0,55}$'),
    kind text NOT NULL CHECK (kind IN ('reminder', 'email')),
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0
);
COMMENT ON COLUMN communication_schedule.id IS 'of the task or of the mail, in the schema of the tenant';
CREATE INDEX communication_schedule_due ON communication_schedule (due_at);

ALTER TABLE communication_schedule ENABLE ROW LEVEL SECURITY;
ALTER TABLE communication_schedule FORCE ROW LEVEL SECURITY;

-- A transaction of a tenant changes what is that tenant's; only a scheduler sees all.
CREATE POLICY communication_schedule_tenant ON communication_schedule
    USING (tenant = current_setting('mtenant.tenant_id', true));
CREATE POLICY communication_schedule_scheduler ON communication_schedule
    USING (current_setting('mtenant.scheduler', true) = 'on');
