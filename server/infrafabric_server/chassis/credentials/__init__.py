"""Scoped credentials: what one attempt of a task may reach, for as long as its claim lives."""
