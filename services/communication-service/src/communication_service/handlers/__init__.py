"""What happens for a request or an event: rules, queries and calls in their order."""
