-- Rollback: Communication
-- Version: 001
-- Description: undo: activities, tasks, templates, mails and what became of them

DROP TABLE tasks;
DROP TABLE activity_links;
DROP TABLE activities;
DROP TABLE email_suppressions;
DROP TABLE email_tracking;
DROP TABLE email_links;
DROP TABLE emails;
DROP TABLE email_template_versions;
DROP TABLE email_templates;
