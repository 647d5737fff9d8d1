-- Rollback: Organizations
-- Version: 001
-- Description: undo: organizations and their names, registrations that are under way, invitations

DROP TABLE invitations;
DROP TABLE removals;
DROP TABLE registrations;
DROP TABLE subdomains;
DROP TABLE organizations;
