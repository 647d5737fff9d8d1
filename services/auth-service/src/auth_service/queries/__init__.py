"""The SQL of the service, on its own tables only."""
