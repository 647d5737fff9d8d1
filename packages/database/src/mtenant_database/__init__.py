"""PostgreSQL for many tenants."""
