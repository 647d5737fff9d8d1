"""What each word of the command `mtenant-events` does: one function a word, one module a group."""
