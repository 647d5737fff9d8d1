-- Migration: Communication
-- Version: 001
-- Description: activities, tasks, templates, mails and what became of them

CREATE TABLE email_templates (
    id uuid PRIMARY KEY,
    key text COLLATE "C" NOT NULL CHECK (key ~ '^[a-z][a-z0-9-]{0,62}$'),
    name text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    archived_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN email_templates.version IS 'the newest of its versions, which is in use';
CREATE UNIQUE INDEX email_templates_key ON email_templates (key) WHERE archived_at IS NULL;

CREATE TABLE email_template_versions (
    template_id uuid NOT NULL REFERENCES email_templates,
    version integer NOT NULL,
    subject text NOT NULL,
    body_text text NOT NULL,
    body_html text,
    variables jsonb NOT NULL DEFAULT '[]',
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (template_id, version)
);
COMMENT ON TABLE email_template_versions IS 'never changed: a mail says which one it was made from';

CREATE TABLE emails (
    id uuid PRIMARY KEY,
    status text NOT NULL CHECK (status IN ('scheduled', 'queued', 'sent', 'failed')),
    recipient text,
    contact_id uuid,
    company_id uuid,
    deal_id uuid,
    user_id text,
    template_id uuid REFERENCES email_templates,
    template_version integer,
    template_key text,
    template_values jsonb NOT NULL DEFAULT '{}',
    subject text,
    body_text text,
    body_html text,
    transactional boolean NOT NULL,
    tracked boolean NOT NULL,
    activity_id uuid,
    message_id text,
    attempts integer NOT NULL DEFAULT 0,
    error text,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    sent_at timestamptz,
    failed_at timestamptz,
    ended_at timestamptz GENERATED ALWAYS AS (coalesce(sent_at, failed_at)) STORED,
    opened_at timestamptz,
    clicked_at timestamptz,
    unsubscribed_at timestamptz,
    opens integer NOT NULL DEFAULT 0,
    clicks integer NOT NULL DEFAULT 0,
    machine_opens integer NOT NULL DEFAULT 0,
    machine_clicks integer NOT NULL DEFAULT 0,
    tracks integer NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 1,
    CHECK (status = 'scheduled' OR status = 'failed'
        OR (recipient IS NOT NULL AND subject IS NOT NULL AND body_text IS NOT NULL))
);
COMMENT ON COLUMN emails.id IS 'of the mail intent, too';
COMMENT ON COLUMN emails.template_key IS 'of a scheduled mail: its template is looked up when it is due';
COMMENT ON COLUMN emails.body_html IS 'as it was written: the links of what is sent lead to a tracker first';
COMMENT ON COLUMN emails.opened_at IS 'the first time that a person did, and no machine';
CREATE INDEX emails_created_at ON emails (created_at, id);
CREATE INDEX emails_status ON emails (status, created_at, id);
CREATE INDEX emails_contact ON emails (contact_id, created_at, id) WHERE contact_id IS NOT NULL;
CREATE INDEX emails_deal ON emails (deal_id, created_at, id) WHERE deal_id IS NOT NULL;
CREATE INDEX emails_template ON emails (template_id, created_at, id) WHERE template_id IS NOT NULL;
CREATE INDEX emails_ended_at ON emails (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE email_links (
    email_id uuid NOT NULL REFERENCES emails ON DELETE CASCADE,
    number smallint NOT NULL,
    url text NOT NULL,
    clicks integer NOT NULL DEFAULT 0,
    PRIMARY KEY (email_id, number)
);
COMMENT ON TABLE email_links IS 'where the links of a mail lead: a click goes nowhere else';

CREATE TABLE email_tracking (
    id uuid PRIMARY KEY,
    email_id uuid NOT NULL REFERENCES emails ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('open', 'click', 'unsubscribe')),
    link smallint,
    machine text,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN email_tracking.machine IS 'why it was no person; nothing else of the caller is kept';
CREATE INDEX email_tracking_email ON email_tracking (email_id, at, id);

CREATE TABLE email_suppressions (
    address text COLLATE "C" PRIMARY KEY,
    email_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE email_suppressions IS 'addresses that want no more mail, but for what a person must know';

CREATE TABLE activities (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('email', 'call', 'meeting', 'note')),
    subject text NOT NULL,
    body text NOT NULL DEFAULT '',
    direction text CHECK (direction IN ('inbound', 'outbound')),
    duration_minutes integer CHECK (duration_minutes >= 0),
    occurred_at timestamptz NOT NULL,
    email_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX activities_occurred_at ON activities (occurred_at, id);
CREATE INDEX activities_kind ON activities (kind, occurred_at, id);

CREATE TABLE activity_links (
    entity text NOT NULL CHECK (entity IN ('contact', 'company', 'deal')),
    entity_id uuid NOT NULL,
    activity_id uuid NOT NULL REFERENCES activities ON DELETE CASCADE,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (activity_id, entity, entity_id)
);
COMMENT ON TABLE activity_links IS 'in whose timelines an activity stands, with its time: a timeline is one range of the index';
CREATE INDEX activity_links_timeline ON activity_links (entity, entity_id, occurred_at, activity_id);

CREATE TABLE tasks (
    id uuid PRIMARY KEY,
    title text NOT NULL,
    description text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'done')),
    due_at timestamptz,
    order_at timestamptz GENERATED ALWAYS AS
        (coalesce(due_at, timestamptz '9999-12-31 00:00:00+00')) STORED,
    remind_at timestamptz,
    reminded_at timestamptz,
    assignee_id text COLLATE "C" NOT NULL,
    contact_id uuid,
    company_id uuid,
    deal_id uuid,
    created_by text NOT NULL,
    completed_by text,
    completed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
COMMENT ON COLUMN tasks.order_at IS 'when it is due; those without a day come last';
COMMENT ON COLUMN tasks.reminded_at IS 'when the reminder fired; null again with another one';
CREATE INDEX tasks_order ON tasks (status, order_at, id);
CREATE INDEX tasks_all ON tasks (order_at, id);
CREATE INDEX tasks_assignee ON tasks (assignee_id, status, order_at, id);
CREATE INDEX tasks_contact ON tasks (contact_id, order_at, id) WHERE contact_id IS NOT NULL;
CREATE INDEX tasks_company ON tasks (company_id, order_at, id) WHERE company_id IS NOT NULL;
CREATE INDEX tasks_deal ON tasks (deal_id, order_at, id) WHERE deal_id IS NOT NULL;

-- The first templates of a tenant: to be changed, or archived, which ends mails of their kind.
WITH first (key, name, subject, body_text, body_html, variables) AS (VALUES
    ('welcome', 'Welcome',
     'Welcome, {{ name }}',
     E'Hello {{ name }},\n\nyour account is ready.\n',
     '<p>Hello {{ name }},</p><p>your account is ready.</p>',
     '[{"name": "name", "default": null}]'),
    ('deal-won-thanks', 'A won deal: thanks',
     'Thank you for choosing us',
     E'Hello {{ contact_name }},\n\nthank you for your trust: "{{ deal_name }}" is agreed.\n',
     '<p>Hello {{ contact_name }},</p><p>thank you for your trust: <b>{{ deal_name }}</b> is agreed.</p>',
     '[{"name": "contact_name", "default": null}, {"name": "deal_name", "default": null}]'),
    ('deal-won-check-in', 'A won deal: a week later',
     'How is it going?',
     E'Hello {{ contact_name }},\n\na week ago we agreed on "{{ deal_name }}". Is there anything you need?\n',
     '<p>Hello {{ contact_name }},</p><p>a week ago we agreed on <b>{{ deal_name }}</b>. Is there anything you need?</p>',
     '[{"name": "contact_name", "default": null}, {"name": "deal_name", "default": null}]'),
    ('task-reminder', 'A reminder of a task',
     'Reminder: {{ title }}',
     E'{{ title }}\n{% if due %}\nDue: {{ due }}\n{% endif %}',
     '<p><b>{{ title }}</b></p>{% if due %}<p>Due: {{ due }}</p>{% endif %}',
     '[{"name": "title", "default": null}, {"name": "due", "default": ""}]')
), added AS (
    INSERT INTO email_templates (id, key, name) SELECT gen_random_uuid(), key, name FROM first
    RETURNING id, key
)
INSERT INTO email_template_versions
    (template_id, version, subject, body_text, body_html, variables, created_by)
SELECT added.id, 1, subject, body_text, body_html, variables::jsonb, 'service:communication-service'
FROM added JOIN first USING (key);
