"""The outbox and the inbox in PostgreSQL: the one place of this package that knows psycopg."""
