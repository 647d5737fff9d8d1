-- Rollback: Preferences
-- Version: 001
-- Description: undo: the tenant's settings, and the preferences of its users

DROP TABLE user_preferences;
DROP TABLE tenant_settings;
