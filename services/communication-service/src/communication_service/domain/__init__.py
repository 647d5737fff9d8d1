"""The rules: no HTTP and no SQL is in here."""
