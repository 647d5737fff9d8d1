"""What happens for a request: rules, queries and calls in their order."""
