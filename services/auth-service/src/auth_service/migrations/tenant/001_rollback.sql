-- Rollback: Accounts
-- Version: 001
-- Description: undo: users, their logins, and the tokens that they were given

DROP TABLE api_keys;
DROP TABLE email_verification_tokens;
DROP TABLE password_reset_tokens;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE users;
