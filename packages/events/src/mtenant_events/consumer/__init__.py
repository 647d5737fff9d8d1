"""Consumers: from a stream to handlers, each event to one effect."""
