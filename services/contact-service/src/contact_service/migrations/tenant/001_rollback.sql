-- Rollback: Contacts
-- Version: 001
-- Description: undo: companies, contacts, the fields that a tenant adds to them, and imports

DROP TABLE import_rows;
DROP TABLE imports;
DROP TABLE contacts;
DROP TABLE companies;
DROP TABLE custom_fields;
