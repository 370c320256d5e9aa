"""Statuses: what swarms say of themselves and what becomes of them, known at once."""
