"""The rules of the service: no input, no output, nothing of HTTP or SQL."""
