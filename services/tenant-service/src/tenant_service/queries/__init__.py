"""The SQL: of this service's own tables, and the registry's `shared.tenants`."""
