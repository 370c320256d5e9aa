"""Checks what a server would stand on, and says what to do about what it finds."""
