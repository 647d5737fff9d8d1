-- Migration: Contacts
-- Version: 001
-- Description: companies, contacts, the fields that a tenant adds to them, and imports

CREATE TABLE custom_fields (
    id uuid PRIMARY KEY,
    entity text COLLATE "C" NOT NULL CHECK (entity IN ('contact', 'company')),
    key text COLLATE "C" NOT NULL,
    label text NOT NULL,
    type text COLLATE "C" NOT NULL CHECK (type IN ('text', 'number', 'boolean', 'date', 'choice')),
    choices text[],
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (entity, key),
    CHECK ((type = 'choice') = (choices IS NOT NULL))
);

CREATE TABLE companies (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    domain text COLLATE "C",
    industry text,
    phone text,
    parent_id uuid REFERENCES companies,
    owner_id text COLLATE "C",
    custom jsonb NOT NULL DEFAULT '{}',
    search tsvector NOT NULL,
    sort_name text COLLATE "C" NOT NULL GENERATED ALWAYS AS (lower(name)) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    version bigint NOT NULL DEFAULT 1,
    CHECK (parent_id <> id)
);
CREATE INDEX companies_created_at ON companies (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX companies_updated_at ON companies (updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX companies_sort_name ON companies (sort_name, id) WHERE deleted_at IS NULL;
CREATE INDEX companies_parent ON companies (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX companies_owner ON companies (owner_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX companies_domain ON companies (domain) WHERE deleted_at IS NULL;
CREATE INDEX companies_deleted_at ON companies (created_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX companies_search ON companies USING gin (search);
CREATE INDEX companies_custom ON companies USING gin (custom);

CREATE TABLE contacts (
    id uuid PRIMARY KEY,
    first_name text NOT NULL,
    last_name text NOT NULL,
    email text COLLATE "C",
    phone text,
    job_title text,
    status text COLLATE "C" NOT NULL CHECK (status IN ('lead', 'active', 'inactive')),
    company_id uuid REFERENCES companies,
    owner_id text COLLATE "C",
    custom jsonb NOT NULL DEFAULT '{}',
    search tsvector NOT NULL,
    sort_name text COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (lower(last_name || ' ' || first_name)) STORED,
    phone_digits text COLLATE "C" GENERATED ALWAYS AS (regexp_replace(phone, '[^0-9]', '', 'g')) STORED,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    merged_into uuid REFERENCES contacts,
    version bigint NOT NULL DEFAULT 1,
    CHECK (first_name <> '' OR last_name <> '' OR email IS NOT NULL)
);
COMMENT ON COLUMN contacts.email IS 'in its one spelling: NFC, lower case';
COMMENT ON COLUMN contacts.search IS 'the words that it is found by; the program folds case and accents';
COMMENT ON COLUMN contacts.merged_into IS 'the contact that it became part of, when it was deleted for that';
CREATE UNIQUE INDEX contacts_email ON contacts (email) WHERE deleted_at IS NULL;
CREATE INDEX contacts_created_at ON contacts (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_updated_at ON contacts (updated_at, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_sort_name ON contacts (sort_name, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_id ON contacts (id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_company ON contacts (company_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_owner ON contacts (owner_id, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_status ON contacts (status, created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX contacts_phone ON contacts (phone_digits) WHERE deleted_at IS NULL;
CREATE INDEX contacts_deleted_at ON contacts (created_at, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX contacts_merged_into ON contacts (merged_into) WHERE merged_into IS NOT NULL;
CREATE INDEX contacts_search ON contacts USING gin (search);
CREATE INDEX contacts_custom ON contacts USING gin (custom);

CREATE TABLE imports (
    id uuid PRIMARY KEY,
    digest bytea UNIQUE,
    filename text,
    format text COLLATE "C" NOT NULL,
    on_duplicate text COLLATE "C" NOT NULL CHECK (on_duplicate IN ('skip', 'update', 'error')),
    dry_run boolean NOT NULL,
    header json NOT NULL,
    ignored json NOT NULL,
    status text COLLATE "C" NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed')),
    error text,
    total integer NOT NULL,
    line integer NOT NULL DEFAULT 0,
    created integer NOT NULL DEFAULT 0,
    updated integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    invalid integer NOT NULL DEFAULT 0,
    actor text NOT NULL,
    caller text NOT NULL,
    request_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON COLUMN imports.digest IS 'of the file and the options: the same import is not done twice';
COMMENT ON COLUMN imports.line IS 'rows up to this line are done; set in the transaction that did them';
CREATE INDEX imports_created_at ON imports (created_at, id);

CREATE TABLE import_rows (
    import_id uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
    line integer NOT NULL,
    cells json NOT NULL,
    email text COLLATE "C",
    errors json,
    PRIMARY KEY (import_id, line)
);
COMMENT ON TABLE import_rows IS 'rows that wait for their turn, and those that were refused, with the reasons';
CREATE INDEX import_rows_errors ON import_rows (import_id, line) WHERE errors IS NOT NULL;
CREATE INDEX import_rows_email ON import_rows (import_id, email, line) WHERE email IS NOT NULL;
