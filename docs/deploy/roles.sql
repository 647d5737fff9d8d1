-- The database and its four roles, for psql; run as a superuser, as often as you like.
--
--   crm_owner     owns the schemas, and cannot log in
--   crm_deploy    migrates and makes tenants: takes the owner's role, and has no rights by itself
--   crm_app       the services: rows, and nothing else
--   crm_operator  dumps and restores tenants: takes the owner's role, and passes row security
--
-- Passwords are read from the environment, so that no command line shows them; a role whose variable is
-- not set has none, and can log in only where the server asks for none.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
\getenv deploy_password CRM_DEPLOY_PASSWORD
\getenv app_password CRM_APP_PASSWORD
\getenv operator_password CRM_OPERATOR_PASSWORD

SELECT format('CREATE ROLE %I %s', name, rights) FROM (VALUES ('crm_owner', 'NOLOGIN'), ('crm_deploy', 'LOGIN NOINHERIT'),
    ('crm_app', 'LOGIN'), ('crm_operator', 'LOGIN BYPASSRLS')) wanted (name, rights)
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec
GRANT crm_owner TO crm_deploy, crm_operator;
GRANT pg_read_all_data TO crm_operator;

\if :{?deploy_password}
ALTER ROLE crm_deploy PASSWORD :'deploy_password';
\endif
\if :{?app_password}
ALTER ROLE crm_app PASSWORD :'app_password';
\endif
\if :{?operator_password}
ALTER ROLE crm_operator PASSWORD :'operator_password';
\endif

SELECT 'CREATE DATABASE crm OWNER crm_owner' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'crm') \gexec
REVOKE ALL ON DATABASE crm FROM PUBLIC;
REVOKE TEMPORARY ON DATABASE crm FROM crm_owner;
GRANT CONNECT ON DATABASE crm TO crm_deploy, crm_app, crm_operator;
ALTER ROLE crm_app IN DATABASE crm SET search_path = pg_catalog, pg_temp;
