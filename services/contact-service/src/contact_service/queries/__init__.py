"""The SQL: of this service's own tables."""
