-- Migration: Organizations
-- Version: 001
-- Description: organizations and their names, registrations that are under way, invitations

CREATE TABLE organizations (
    id text COLLATE "C" PRIMARY KEY REFERENCES shared.tenants ON DELETE CASCADE,
    name text NOT NULL,
    subdomain text COLLATE "C" NOT NULL UNIQUE,
    plan text NOT NULL,
    status text NOT NULL CHECK (status IN
        ('provisioning', 'active', 'suspending', 'suspended', 'reactivating', 'deleting')),
    exported_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
COMMENT ON COLUMN organizations.status IS 'suspending, reactivating and deleting are on their way: a worker finishes them';
CREATE INDEX organizations_on_their_way ON organizations (updated_at)
    WHERE status IN ('suspending', 'reactivating', 'deleting');

-- Everybody finds an organization by its subdomain, before a tenant is known; only the tenant itself, and
-- who registers, suspends and removes tenants, changes one.
ALTER TABLE organizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE organizations FORCE ROW LEVEL SECURITY;
CREATE POLICY organizations_find ON organizations FOR SELECT USING (true);
CREATE POLICY organizations_change ON organizations USING (
    id = current_setting('mtenant.tenant_id', true)
    OR current_setting('mtenant.registrar', true) = 'on');

CREATE TABLE subdomains (
    name text COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])$'),
    tenant text COLLATE "C" NOT NULL,
    held_until timestamptz
);
COMMENT ON TABLE subdomains IS 'names that are taken: by organizations, by registrations under way, and for a while after';
COMMENT ON COLUMN subdomains.tenant IS 'no key: a name is taken before the tenant is made, and held after it is gone';
CREATE INDEX subdomains_held ON subdomains (held_until) WHERE held_until IS NOT NULL;
CREATE INDEX subdomains_tenant ON subdomains (tenant);

ALTER TABLE subdomains ENABLE ROW LEVEL SECURITY;
ALTER TABLE subdomains FORCE ROW LEVEL SECURITY;
CREATE POLICY subdomains_all ON subdomains
    USING (current_setting('mtenant.registrar', true) = 'on');

CREATE TABLE registrations (
    id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL UNIQUE,
    subdomain text COLLATE "C" NOT NULL,
    name text NOT NULL,
    owner_id uuid NOT NULL,
    owner_email text,
    owner_name text,
    key bytea UNIQUE,
    fingerprint bytea,
    state text NOT NULL DEFAULT 'running'
        CHECK (state IN ('running', 'abandoning', 'done', 'failed')),
    error text,
    attempt integer NOT NULL DEFAULT 1,
    lease_until timestamptz NOT NULL,
    due_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CHECK (state NOT IN ('running', 'abandoning') OR owner_email IS NOT NULL)
);
COMMENT ON COLUMN registrations.owner_email IS 'forgotten once it is over';
COMMENT ON COLUMN registrations.key IS 'a digest of the key that the client chose; no password and no digest of one is here';
COMMENT ON COLUMN registrations.attempt IS 'whose lease ran out is told by it, and changes nothing any more';
CREATE INDEX registrations_due ON registrations (due_at) WHERE state IN ('running', 'abandoning');
CREATE INDEX registrations_over ON registrations (finished_at) WHERE finished_at IS NOT NULL;

ALTER TABLE registrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE registrations FORCE ROW LEVEL SECURITY;
CREATE POLICY registrations_all ON registrations
    USING (current_setting('mtenant.registrar', true) = 'on');

CREATE TABLE removals (
    tenant text COLLATE "C" PRIMARY KEY,
    since timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE removals IS 'tenants that go, until nothing of them can be on its way to the stream of events any more';
COMMENT ON COLUMN removals.tenant IS 'no key: it outlives the tenant';
CREATE INDEX removals_due ON removals (due_at);

ALTER TABLE removals ENABLE ROW LEVEL SECURITY;
ALTER TABLE removals FORCE ROW LEVEL SECURITY;
CREATE POLICY removals_all ON removals
    USING (current_setting('mtenant.registrar', true) = 'on');

CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    tenant text COLLATE "C" NOT NULL REFERENCES shared.tenants ON DELETE CASCADE,
    email text COLLATE "C" NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'member', 'manager', 'admin', 'owner')),
    digest bytea NOT NULL UNIQUE,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'accepted', 'revoked', 'expired')),
    user_id uuid NOT NULL,
    invited_by text NOT NULL,
    sent integer NOT NULL DEFAULT 1,
    claimed_until timestamptz,
    expires_at timestamptz NOT NULL,
    accepted_by text,
    accepted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1
);
COMMENT ON COLUMN invitations.digest IS 'of the token, which is in the mail and nowhere else';
COMMENT ON COLUMN invitations.user_id IS 'of the account that accepting makes: chosen before, so that it is made once';
COMMENT ON COLUMN invitations.claimed_until IS 'somebody is accepting it';
CREATE UNIQUE INDEX invitations_pending ON invitations (tenant, email) WHERE status = 'pending';
CREATE INDEX invitations_created_at ON invitations (tenant, created_at, id);

ALTER TABLE invitations ENABLE ROW LEVEL SECURITY;
ALTER TABLE invitations FORCE ROW LEVEL SECURITY;
CREATE POLICY invitations_of_tenant ON invitations
    USING (tenant = current_setting('mtenant.tenant_id', true));
