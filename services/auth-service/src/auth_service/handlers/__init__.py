"""What the service does, one noun a file: between the rules and the SQL, without HTTP."""
